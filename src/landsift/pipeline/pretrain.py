"""Pretrain a backbone on this machine."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from landsift.config import RunConfig
from landsift.pipeline import inputs
from landsift.pipeline.run import execute
from landsift.pipeline.stage_table import for_pretraining
from landsift.runs import MANIFEST

logger = logging.getLogger("landsift")
OWN = {
    "batch_size": "pretraining.batch_size",
    "image_size": "pretraining.image_size",
    "weight_decay": "pretraining.weight_decay",
    "gradient_clip": "pretraining.gradient_clip",
    "augment": "pretraining.views",
}
"""Settings of `training` that a pretraining has of its own."""


def pretrain(
    config: inputs.Config,
    out: Path | str,
    *,
    data: inputs.Data = None,
    cache: bool = True,
    command: Sequence[str] | None = None,
) -> Path:
    """Pretrain a backbone on patches without their labels; a result that is in the cache is not made again.

    Args:
        config: a configuration, nested values such as `{"pretraining": {"epochs": 50}}`, a YAML file, or None.
        out: the folder to make; absent or empty. It appears when all is done, and is a value for `model.weights`.
        data: a store, or what `data.source` may name; None: what the configuration names.
        cache: False runs every stage again, from its beginning.
        command: the command line, for the manifest.

    Returns:
        `out`, absolute.

    Raises:
        LandsiftError: the output, the data, the model or the tracking cannot be used, or another run is at work in
            this process; as a CollapseError: the features no longer tell patches apart.
        Terminated: SIGTERM has come; the same call resumes.
        KeyboardInterrupt: Ctrl+C, or a notebook's Stop.
    """
    from landsift.data.sources.base import can_have_labels

    chosen = inputs.configured(config, data)
    if chosen.data.labels and not can_have_labels(chosen.data):
        logger.info("%s says of no patch what it shows: all of them are learned from", chosen.data.source)
        chosen = chosen.replace("data.labels=false")
    _say_unread(chosen)
    chosen = for_pretraining(chosen)
    given = {
        "config_json": chosen.model_dump_json(),
        "command_json": json.dumps(command and [*command]),
        "afresh": "no" if cache else "yes",
    }
    return execute("landsift_pretraining", given, chosen, out, last=MANIFEST)


def _say_unread(config: RunConfig) -> None:
    """Tell which settings of a classifier's training were changed that a pretraining has of its own."""
    default = RunConfig().training
    for name, own in OWN.items():
        if getattr(config.training, name) != getattr(default, name):
            logger.info("training.%s is of the classifier's training; here %s is read", name, own)
