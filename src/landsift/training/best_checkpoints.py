"""Checkpoints of the best epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from landsift.training import ranks


class BestCheckpoints(ModelCheckpoint):
    """Keeps the three best epochs of the validation: those with the highest `val_choice`, which the module logs.

    They hold weights and no optimizer's state, which is twice as large: an interrupted training resumes from last.ckpt.

    Args:
        folder: where.
        figure: the validation figure in the names of the files.
    """

    def __init__(self, folder: Path, figure: str = "val_acc") -> None:
        super().__init__(
            dirpath=folder,
            filename=f"best-{{epoch:03d}}-{{{figure}:.3f}}",
            auto_insert_metric_name=False,
            monitor="val_choice",
            mode="max",
            save_top_k=3,
            save_weights_only=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint, wherever its folder is by now, without epochs that came after it and count no more.

        An epoch that it knows may be gone, if a later one took its place: the same one will again.
        """
        assert self.dirpath is not None
        folder = Path(self.dirpath)

        def here(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        state = dict(state_dict) | {"dirpath": self.dirpath}
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            state[name] = here(state[name])
        state["best_k_models"] = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict(state)
        if ranks.rank() == 0:
            for file in folder.glob("best-*.ckpt"):
                if str(file) not in self.best_k_models:
                    file.unlink()
