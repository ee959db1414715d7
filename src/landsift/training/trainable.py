"""What a Lightning module offers to be trained by landsift's loop; nothing of it is about classes.

`Trainable` is what phases, history, exact resume and several processes ask for. The other protocols are optional: a
module that does not offer one is trained without it. `PhasedModule` implements most of `Trainable`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

    from landsift.data.batches import Batch
    from landsift.data.patch_draws import PatchDraws
    from landsift.training.feature_cache import FeatureCache
    from landsift.training.phases import Phase, Strategy


@runtime_checkable
class Trainable(Protocol):
    """A module that trains through phases.

    Besides, it builds a fresh optimizer for the present phase (`configure_optimizers`), enters the phase of a
    checkpoint's epoch before that (`on_load_checkpoint`), and logs its figures at the end of a validation, the same in
    every rank: those of `figures`, the one of `chosen_by`, `val_loss`, which early stopping watches, and `val_choice`,
    which is highest in the best epoch. What is a submodule in it is a property here: from Python 3.12 on, `isinstance`
    sees no submodules.

    Attributes:
        strategy: its phases.
        phase_index: the phase that trains now; `enter_phase` sets it.
        figures: the validation figures of a row of the history. The last one is in the names of checkpoints. With
            "val_acc" among them phases are watched for a fall and for no gain.
        chosen_by: the validation figure that the best epoch is chosen by, for people.
    """

    strategy: Strategy
    phase_index: int
    figures: tuple[str, ...]
    chosen_by: str

    @property
    def phase(self) -> Phase:
        """The phase that trains now."""

    @property
    def backbone(self) -> nn.Module:
        """The network that phases freeze and let train block by block."""

    def enter_phase(self, index: int) -> None:
        """Set what trains, and which layers are in train mode."""

    def trainable_parameters(self) -> int:
        """How many parameters train in this phase."""

    def learning_rates(self) -> dict[str, float]:
        """The present learning rate of each part, such as head and backbone; 0 where it is frozen."""

    def epoch_loss(self) -> float:
        """Mean training loss per patch of the epoch that is ending, over all ranks."""

    def epoch_state(self) -> dict[str, Any]:
        """What this rank keeps of the epoch so far, for the checkpoint: tensors and plain values alone."""

    def load_epoch_state(self, state: dict[str, Any]) -> None:
        """Go on with the epoch of a checkpoint."""

    def moving_statistics(self) -> list[tuple[nn.Module, nn.Module]]:
        """Networks whose batch norms have seen other patches in each rank, each beside itself as it trains.

        The second says which layers do: the first may be an average of it, of which nothing trains.
        """


@runtime_checkable
class Recalibrating(Protocol):
    """A module for phases with `batch_norm: recalibrate`."""

    def recalibrate(self, batches: Iterable[Batch]) -> None:
        """Estimate the running statistics of the backbone's batch norms anew from training patches."""


@runtime_checkable
class FeatureCaching(Protocol):
    """A module that can train its head on features that its frozen backbone gave once.

    Attributes:
        train_features: of the training patches, or None where the backbone has to run.
        val_features: of the validation patches, likewise.
    """

    train_features: FeatureCache | None
    val_features: FeatureCache | None

    def frozen_features(self, images: Tensor, draws: PatchDraws | None = None) -> Tensor:
        """Features float [B, D] by the backbone as it is; images [B, H, W, C], as stored or turned.

        With `draws` the images are jittered, cropped and so on first, by what is drawn for each patch.
        """


@runtime_checkable
class Compiling(Protocol):
    """A module whose backbone can be compiled.

    Attributes:
        compiled: whether it is.
    """

    compiled: bool

    def compile_backbone(self) -> None:
        """Compile it in place."""


@runtime_checkable
class KeepingFeatures(Protocol):
    """A module that keeps the features of some validation patches.

    Attributes:
        keep_rows: store rows of these patches, int64 [M], ascending.
        kept_rows: those that this rank has seen in the last validation, int64 [B] per batch.
        kept_embeddings: their features, float32 [B, D] per batch.
    """

    keep_rows: Tensor
    kept_rows: list[Tensor]
    kept_embeddings: list[Tensor]


@runtime_checkable
class Averaging(Protocol):
    """A module that validates averages of its weights."""

    def adopt_averages(self) -> None:
        """Make the averages its weights."""
