"""Settings under which a whole training takes a second; a test adds what it is about."""

from landsift.config import RunConfig

SMALL = (
    "data.synthetic.patches=120",
    "data.synthetic.size=16",
    "model.backbone=test_efficientnet",
    "model.weights=none",
    "training.image_size=32",
    "training.batch_size=16",
    "training.accelerator=cpu",
    "training.precision=32",  # what `auto` measures on a busy machine differs from run to run
    "tracking.tsne_per_class=5",
)


def small(*changes: str) -> RunConfig:
    """The settings with changes laid over them, the later ones over the earlier."""
    return RunConfig.load(None, (*SMALL, *changes))
