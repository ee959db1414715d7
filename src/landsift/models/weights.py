"""Weights from a file into a backbone: found in it, brought to timm's layout by timm's own code, and held against it.

A file fits when every tensor of the network is there in its shape, and nothing else is but a classifier.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift.config import ModelConfig
from landsift.errors import ModelError
from landsift.models.timm_networks import unfilled
from landsift.models.weights_file import check_sizes, check_values, layers_of_one_value, one_line, read_checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

    Tensors = dict[str, Tensor]
    Conversion = Callable[..., dict[str, Any]]
    Loader = Callable[..., None]

logger = logging.getLogger("landsift")

OTHER_WEIGHTS = (
    "give model.weights a file of weights (.safetensors, .pth, .pt, .bin) in timm's layout, a run directory, or 'none' "
    "for random weights"
)
EMPTY = "was the file saved before the network had its weights? get it again from where it comes from"
NESTS = ("state_dict_ema", "model_ema", "teacher", "state_dict", "model", "student", "encoder", "backbone", "network")
"""Under which of its keys a checkpoint holds its tensors, the ones to prefer first: averages, as timm does, and of
DINO's two networks the teacher, which its authors evaluate."""
PREFIXES = ("module.", "_orig_mod.", "model.", "teacher.", "student.", "encoder.", "backbone.", "network.", "net.")
"""What wrappers put before the names of tensors; of two that are there, the first."""
_COUNTER = "num_batches_tracked"
"""Of batch norms: of no effect, so that it may be missing, and may be left over under a name of the past."""
_asking = threading.Lock()


@dataclass
class _Fit:
    """How tensors of a file fit a network.

    Attributes:
        tensors: those that the network takes.
        problems: names of tensors, by what is wrong with them.
        classifier: names that the network would have with its classifier.
        prefix: what was taken off the names.
        converted: whether timm had to bring them into its layout, or to another input size.
    """

    tensors: Tensors
    problems: dict[str, list[str]]
    classifier: list[str]
    prefix: str
    converted: bool

    @property
    def wrong(self) -> int:
        """How many tensors are missing, unknown, or of another kind."""
        return sum(map(len, self.problems.values()))


def load_weights(network: nn.Module, file: Path, config: ModelConfig, image_size: int, *, own: bool = False) -> None:
    """Fill a backbone with a file's weights; the classifier is left out, and what was passed over is said.

    Args:
        network: the backbone, of these settings.
        file: what `torch.save` or safetensors wrote: a state dict in timm's layout, or in one that timm's loader knows.
        config: names the backbone and its arguments.
        image_size: height and width of the input in pixels, which some weights are resampled for.
        own: whether it is landsift's own file, of a backbone and a head.

    Raises:
        ModelError: the file cannot be read, or its tensors do not fit.
    """
    try:
        tensors, notices = _tensors_of(read_checkpoint(file))
        check_sizes(tensors, file)
        check_values(tensors)
        prefixes = ["backbone."] if own else _prefixes(tensors, network.state_dict())
    except ValueError as error:
        raise ModelError(f"cannot read weights {file}: {one_line(error)}", OTHER_WEIGHTS) from None
    known = _Timm(network, config, image_size)
    best: _Fit | None = None
    for fit in _attempts(tensors, prefixes, known):
        if best is None or fit.wrong < best.wrong:
            best = fit
        if not best.wrong:
            _check_learnt(best.tensors, file)
            network.load_state_dict(best.tensors, strict=False)
            if not own:
                _say(file, [*notices, *_passed_over(best, tensors)])
            return
    assert best is not None  # the first attempt converts nothing
    what = ", ".join(f"{len(names)} {kind} (such as {names[0]})" for kind, names in best.problems.items() if names)
    hint = (
        "are they another network's, or for another training.image_size, or does it need model.backbone_args (such as "
        "pad_type: same)?"
    )
    raise ModelError(f"weights {file} do not fit {config.backbone}: tensors {what}", hint)


def _check_learnt(tensors: Tensors, file: Path) -> None:
    """Refuse weights whose layers all hold one value, which fit and know nothing; say where some of them do."""
    found, count = layers_of_one_value(tensors)
    if not found:
        return
    such = f"(such as {found[0]}: {float(tensors[found[0]].flatten()[0]) + 0.0:g})"
    if len(found) == count:
        raise ModelError(
            f"weights {file} contain no information: each of the {count} layers holds a single value {such}", EMPTY
        )
    logger.warning("weights %s: %d of %d layers hold a single value each %s", file, len(found), count, such)


def _tensors_of(checkpoint: Any) -> tuple[Tensors, list[str]]:
    """The state dict in what a file holds, and in words what it was taken from; ValueError where there is none."""
    from torch import Tensor

    notices: list[str] = []
    while isinstance(checkpoint, Mapping):
        if {"landsift", "state_dict"} <= set(checkpoint):
            raise ValueError(
                "it is a checkpoint of a training of landsift; give its run directory, which has the model"
            )
        inner = [key for key, value in checkpoint.items() if isinstance(value, Mapping) and value]
        tensors = {key: value for key, value in checkpoint.items() if isinstance(value, Tensor)}
        nests = [key for key in NESTS if key in inner]
        if not nests and tensors:
            if others := [key for key in checkpoint if key not in tensors]:
                notices.append(f"{_count(others)} that are not tensors left out")
            return {str(key): value for key, value in tensors.items()}, notices
        if not nests:
            nests = [key for key in inner if any(isinstance(value, Tensor) for value in checkpoint[key].values())]
            if len(nests) > 1:
                raise ValueError(
                    f"it holds several networks ({', '.join(map(str, nests[:4]))}); save the one that is meant"
                )
        if not nests:
            break
        notices.append(f"its '{nests[0]}' is taken" + (f", not its '{nests[1]}'" if nests[1:] else ""))
        checkpoint = checkpoint[nests[0]]
    raise ValueError("it holds no tensors by name")


def _prefixes(names: Iterable[str], wanted: Mapping[str, Any]) -> list[str]:
    """What may stand before the network's names: nothing, what most of them are found behind, or a wrapper's.

    ValueError where several networks stand side by side, and none is to be preferred.
    """
    counts: Counter[str] = Counter()
    for name in names:
        parts = name.split(".")
        ends = (".".join(parts[i:]) for i in range(len(parts)))
        counts.update(name.removesuffix(end) for end in ends if end in wanted)
    most = max(counts.values(), default=0)
    found = [prefix for prefix, count in counts.items() if count == most and 2 * count > len(wanted)]
    found.sort(key=_rank)
    if len(found) > 1 and "" not in found and _rank(found[0]) == _rank(found[1]):
        raise ValueError(
            f"it holds several networks ({', '.join(prefix.rstrip('.') for prefix in found[:4])}); "
            "save the one that is meant"
        )
    wrappers = [""]
    while more := next((p for p in PREFIXES if any(n.startswith(wrappers[-1] + p) for n in names)), None):
        wrappers.append(wrappers[-1] + more)
    return list(dict.fromkeys(["", *found, *wrappers]))


def _rank(prefix: str) -> list[int]:
    """Where the parts of a prefix stand among `PREFIXES`; the lowest is to be preferred."""
    return [i for i, known in enumerate(PREFIXES) if f".{known}" in f".{prefix}"] + [len(PREFIXES)]


def _attempts(tensors: Tensors, prefixes: list[str], known: _Timm) -> Iterator[_Fit]:
    """The ways to read the file: as it is under each prefix, then as timm converts it."""
    inside = [{n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)} for prefix in prefixes]
    for prefix, these in zip(prefixes, inside, strict=True):
        yield known.fit(these, prefix, converted=False)
    for prefix, these in zip(prefixes, inside, strict=True):
        yield from known.converted(these, prefix)


class _Timm:
    """What timm knows of the weights of a network; it is asked when that is needed."""

    def __init__(self, network: nn.Module, config: ModelConfig, image_size: int) -> None:
        self._network = network
        self._config = config
        self._image_size = image_size
        self._wanted = network.state_dict()
        given = getattr(network, "pretrained_cfg", {}).get("classifier") or "classifier"
        self._classifier = tuple(f"{name}." for name in ([given] if isinstance(given, str) else given))

    def fit(self, tensors: Tensors, prefix: str, *, converted: bool) -> _Fit:
        """Hold tensors against the network."""
        wanted = self._wanted
        missing = [name for name in wanted if name not in tensors and not name.endswith(_COUNTER)]
        there = [name for name in wanted if name in tensors]
        shapes = [name for name in there if tensors[name].shape != wanted[name].shape]
        types = [n for n in there if wanted[n].is_floating_point() and not tensors[n].is_floating_point()]
        others = [name for name in tensors if name not in wanted and not name.startswith(self._classifier)]
        others = [name for name in others if not name.endswith(_COUNTER)]
        unknown = [name for name in others if name not in self._names_with_classifier] if others else []
        problems = {"missing": missing, "of another shape": shapes, "of another type": types, "unknown": unknown}
        classifier = [n for n in tensors if n not in wanted and n not in unknown and not n.endswith(_COUNTER)]
        return _Fit({name: tensors[name] for name in there}, problems, classifier, prefix, converted)

    def converted(self, tensors: Tensors, prefix: str) -> Iterator[_Fit]:
        """Hold them against the network as timm would load them: renamed, and resampled to the input size.

        First with shapes alone, which take no memory: what a file says can make timm resample to thousands of its size.
        """
        change, whole = self._asked
        shapes = {name: tensor.to("meta") for name, tensor in tensors.items()}
        # timm's own code passes the network that is to be filled, but some of it looks for the classifier.
        for network in (self._network, whole):
            changed = _changed(change, shapes, network)
            fit = None if changed is None else self.fit(changed, prefix, converted=True)
            if fit is not None and not fit.wrong:
                changed = _changed(change, tensors, network)
                fit = None if changed is None else self.fit(changed, prefix, converted=True)
            if fit is not None and not (fit.wrong == 0 and any(t.is_meta for t in fit.tensors.values())):
                yield fit

    @property
    def _names_with_classifier(self) -> frozenset[str]:
        whole = self._asked[1]
        return frozenset() if whole is None else frozenset(whole.state_dict())

    @cached_property
    def _asked(self) -> tuple[Conversion | None, nn.Module | None]:
        """How timm converts a state dict of this network, and the network with its classifier, without memory."""
        with _instead_of_loading() as conversions:
            whole = unfilled(self._config, self._image_size, pretrained=True, num_classes=1000)
        return (conversions[0] if conversions else None), whole


def _changed(change: Conversion | None, tensors: Tensors, network: nn.Module | None) -> Tensors | None:
    """What timm makes of tensors for a network; None where it makes nothing of them."""
    from torch import Tensor

    if change is None or network is None:
        return None
    try:
        try:
            changed = change(dict(tensors), network)
        except TypeError:  # some conversions take one argument
            changed = change(dict(tensors))
        return {str(name): tensor for name, tensor in changed.items() if isinstance(tensor, Tensor)}
    except Exception:  # noqa: BLE001 (whatever it makes of tensors that it was not made for)
        return None


@contextmanager
def _instead_of_loading() -> Iterator[list[Conversion | None]]:
    """A list of what timm would have converted pretrained weights with; this thread loads none meanwhile.

    A network's module hands the function to `load_pretrained` and keeps it nowhere, so that it is caught there.
    """
    found: list[Conversion | None] = []

    def note(_load: Loader, *_: Any, filter_fn: Conversion | None = None, **__: Any) -> None:
        found.append(filter_fn)

    with _loading_by(note):
        yield found


@contextmanager
def left_by_timm() -> Iterator[list[str]]:
    """Names of the tensors that timm does not find among the pretrained weights it loads meanwhile in this thread."""
    left: list[str] = []

    def load(load: Loader, network: nn.Module, *arguments: Any, **others: Any) -> None:
        fill = network.load_state_dict

        def noting(*given: Any, **by_name: Any) -> Any:
            filled = fill(*given, **by_name)
            left.extend(name for name in filled.missing_keys if not name.endswith(_COUNTER))
            return filled

        network.load_state_dict = noting  # type: ignore[method-assign]
        try:
            load(network, *arguments, **others)
        finally:
            del network.load_state_dict

    with _loading_by(load):
        yield left


@contextmanager
def _loading_by(ours: Callable[..., None]) -> Iterator[None]:
    """Have this thread's pretrained weights loaded by `ours`, which gets timm's own loader before its arguments."""
    from timm.models import _builder

    with _asking:
        kept, here = _builder.load_pretrained, threading.get_ident()

        def load(*arguments: Any, **others: Any) -> None:
            if threading.get_ident() == here:
                ours(kept, *arguments, **others)
            else:
                kept(*arguments, **others)

        _builder.load_pretrained = load
        try:
            yield
        finally:
            _builder.load_pretrained = kept


def _passed_over(fit: _Fit, tensors: Tensors) -> list[str]:
    """In words, what was changed in a file's tensors and what was left out of them."""
    said = [f"'{fit.prefix}' is taken off the names of its tensors"] if fit.prefix else []
    if beside := [name for name in tensors if not name.startswith(fit.prefix)]:
        said.append(f"{_count(beside)} beside them left out")
    if fit.converted:
        said.append("timm has converted them to its layout or this input size")
    if fit.classifier:
        said.append(f"the classifier ({', '.join(fit.classifier[:2])}) left out")
    return said


def _count(names: list[Any]) -> str:
    return f"{len(names)} (such as {names[0]})"


def _say(file: Path, notices: list[str]) -> None:
    if notices:
        logger.info("weights %s: %s", file, "; ".join(notices))
