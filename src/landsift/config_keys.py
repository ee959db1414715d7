"""What to say of a key that is none: the nearest one, or where what it names is set."""

from __future__ import annotations

from difflib import get_close_matches

OF_A_PHASE = {"lr", "learning_rate", "lr_head", "lr_backbone", "epoch", "epochs", "num_epochs", "max_epochs", "warmup"}
"""What people look for among the keys and belongs to the phases of the strategy."""


def nearest_key(key: str, known: list[str]) -> str:
    """The nearest key beside `key`, else one of the same name elsewhere, else all that stand beside it."""
    above, _, last = key.rpartition(".")
    if last in OF_A_PHASE and not above.startswith("pretraining"):
        return (
            "epochs and learning rates belong to the phases of the strategy, such as "
            "strategy=[{epochs: 5, lr_head: 0.001}]; `landsift config strategy` prints those of a name"
        )
    if above in ("data.split", "split") and last in ("train", "val", "test"):
        return "the shares of the three parts are one key, such as data.split.fractions=[0.6, 0.2, 0.2]"
    if key in known:  # written with dots, as `--set` takes it
        return f"keys are nested here: {': {'.join(key.split('.'))}: ...{'}' * key.count('.')}"
    parent, _, leaf = key.rpartition(".")
    for names in ([k for k in known if k.rpartition(".")[0] == parent], known):
        by_leaf: dict[str, str] = {}
        for name in names:
            by_leaf.setdefault(name.rpartition(".")[2], name)
        if close := get_close_matches(leaf, by_leaf, n=1):
            return f"did you mean '{by_leaf[close[0]]}'?"
    beside = [k for k in known if k.rpartition(".")[0] == parent]
    return f"known here: {', '.join(beside or (k for k in known if '.' not in k))}"
