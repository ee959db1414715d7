"""Weights & Biases: what is asked of it at submission, and where its files go."""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from landsift.config import RunConfig, TrackingConfig, cache_folder
from landsift.errors import LandsiftError, TrackingError
from landsift.pipeline.cache import results
from landsift.pipeline.flyte import failures, transfer
from landsift.pipeline.stage_table import Stage
from landsift.runs import EMBEDDINGS, REPORT, Run, read_json, read_parquet, write_json
from landsift.runtime.notices import said_before

logger = logging.getLogger("landsift")

CLOUD = "https://api.wandb.ai"


def check_key(tracking: TrackingConfig) -> None:
    """Check that W&B online has a key to sign in with: `$WANDB_API_KEY`, or what `wandb login` wrote.

    Raises:
        TrackingError: it has none.
    """
    if tracking.wandb != "online" or os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return
    from requests.utils import get_netrc_auth

    server = os.environ.get("WANDB_BASE_URL", CLOUD)
    if not (get_netrc_auth(server) or ("", ""))[1]:
        raise TrackingError(
            f"tracking.wandb is online, but there is no W&B key for {urlsplit(server).netloc}",
            "run `wandb login`, set WANDB_API_KEY, or use tracking.wandb=offline",
        )


def say_what_is_unused(tracking: TrackingConfig, variables: Sequence[str]) -> None:
    """Tell which of the environment's variables do not decide what W&B run a training becomes.

    Args:
        tracking: what does.
        variables: `surroundings.wandb_variables`.
    """
    unused = [v for v in variables if not re.fullmatch(r"WANDB_(SERVICE|X_.*)", v)]  # which W&B sets for itself
    if unused and tracking.wandb != "disabled":
        logger.info("not used: %s; each training is its own W&B run, as set under tracking", ", ".join(unused))


def tracked(stage: Stage) -> Callable[[Any], Any]:
    """`wandb_init` of Flyte's W&B plugin, a W&B run around each run of a stage's task, imported when the task runs.

    W&B takes longer to import than Flyte, and a training that comes from the cache does not need it.
    """

    def around(task: Any) -> Any:
        async def execute(*arguments: Any, **named: Any) -> Any:
            import flyte.errors
            from flyteplugins.wandb import wandb_init

            is_new = not transfer.is_local() or named["afresh"] == "yes"
            before = [] if is_new else _tracked_before(stage, named["key"])
            goes_on = {"id": before[-1]["id"], "resume": "allow"} if before else {}
            try:
                # Of a copy, whose `execute` is Flyte's own.
                return await wandb_init(task, **goes_on).execute(*arguments, **named)
            except (flyte.errors.BaseRuntimeError, LandsiftError):  # of the task itself
                raise
            except Exception as error:
                with failures.carried():
                    raise cannot_start(error) from error

        task.execute = execute
        return task

    return around


def cannot_start(error: Exception) -> TrackingError:
    """What to say of an error of W&B's."""
    reason = " ".join(str(error).split())[:300]
    return TrackingError(f"W&B cannot start: {reason}", "set tracking.wandb=disabled to train without it")


def context(config: RunConfig, *, name: str | None = None, local: bool = True) -> dict[str, str]:
    """What `wandb_init` reads from Flyte's context: project, entity, mode, the configuration, the folder.

    On one machine W&B writes to `CACHE/tracking`, not to the folder one happens to stand in. The plugin's own
    `wandb_config` writes the same, and imports W&B.
    """
    tracking = config.tracking
    extra: dict[str, Any] = {"settings": {"silent": True, "console": "off", "save_code": False}}
    if tracking.note:
        extra["notes"] = tracking.note
    if local:
        extra["dir"] = str(folder())
    wanted = {
        "project": _text(tracking.project),
        "entity": _text(tracking.entity),
        "name": _text(tracking.name or name),
        "mode": tracking.wandb,
        "config": json.dumps(config.to_dict()),
        "kwargs": json.dumps(extra),
    }
    return {f"wandb_{key}": value for key, value in wanted.items() if value is not None}


def prepare() -> None:
    """Make W&B's folder and keep W&B quiet and out of the home folder; an environment variable of the user's wins."""
    folder().mkdir(parents=True, exist_ok=True)
    homeless = os.path.expanduser("~") == "~"  # noqa: PTH111 (which is told no home without an error)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", *(["WANDB_CONFIG_DIR"] if homeless else [])):
        os.environ.setdefault(name, str(folder()))
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


def folder() -> Path:
    """Where W&B writes on one machine; it adds a folder `wandb` of its own."""
    return cache_folder() / "tracking"


def current_run(tracking: TrackingConfig) -> Any | None:
    """The W&B run of the running task, or None where tracking is off."""
    from flyteplugins.wandb import get_wandb_run

    return None if tracking.wandb == "disabled" else get_wandb_run()


def note(run: Any | None, unfinished: Path) -> list[Path]:
    """Note beside an unfinished training where it is tracked, so that the next attempt continues the same W&B run.

    Args:
        run: the W&B run, or None.
        unfinished: folder of the training.

    Returns:
        W&B's folders of all attempts, the latest last.
    """
    if run is None:
        return []
    attempts = [*_attempts(unfinished), {"id": run.id, "folder": str(Path(run.dir).parent)}]
    write_json(unfinished / results.TRACKED, attempts)
    return [Path(attempt["folder"]) for attempt in attempts if attempt["id"] == run.id]


def log_frames(run: Any, folder: Path, classes: Sequence[str]) -> None:
    """Log the t-SNE frames of a training to its W&B run.

    Args:
        run: the W&B run.
        folder: holds embeddings.parquet.
        classes: K names.
    """
    import numpy as np
    import wandb

    from landsift.reports.run.tsne_figure import tsne_figure

    for number, frame in read_parquet(folder / EMBEDDINGS).groupby("epoch"):
        epoch = int(str(number))
        labels = np.array([classes.index(name) for name in frame["label"]])
        figure = tsne_figure(frame[["x", "y"]].to_numpy(), labels, classes, title=f"epoch {epoch + 1}")
        run.log({"tsne": wandb.Plotly(figure), "epoch": epoch})


def log_test(
    run: Any, store: Path, made: Sequence[Path], config: RunConfig, command: list[str] | None, name: str
) -> None:
    """Log the test of a training to its W&B run: figures, confusion matrix, and the report as a page.

    What W&B raises then is a warning.

    Args:
        run: the W&B run.
        store: folder of the patches.
        made: what the training, its test and, where there are any, the t-SNE frames have left.
        config: of this run.
        command: the command line, or None.
        name: of the Flyte run.
    """
    from landsift.pipeline import run_directory

    try:
        with tempfile.TemporaryDirectory() as folder:
            with said_before():  # the pipeline says it when it puts the run directory together
                assembled = run_directory.assemble(Path(folder) / "run", store, made, [], config, command, None, name)
            log_results(run, Run.open(assembled), cached=False)
    except LandsiftError:
        raise
    except Exception as error:  # noqa: BLE001 (of W&B: the training is done, and its test is in the run directory)
        logger.warning("W&B did not get the test: %s", " ".join(str(error).split())[:300])


def log_results(tracked: Any, run: Run, *, cached: bool) -> None:
    """Log the test of a finished run.

    Args:
        tracked: the W&B run.
        run: the run directory.
        cached: whether its training comes from the cache.
    """
    import wandb

    test = run.evaluation["test"]
    low, high = test["intervals"]["accuracy"]
    figures = {name: test[name] for name in ("n", "accuracy", "macro_f1", "ece")}
    figures |= {"accuracy_low": low, "accuracy_high": high}
    tracked.summary.update({f"test/{name}": value for name, value in figures.items()} | {"cached": cached})
    rows = run.predictions[run.predictions["split"] == "test"]
    classes = list(run.evaluation["classes"])
    place = {name: number for number, name in enumerate(classes)}
    matrix = wandb.plot.confusion_matrix(
        y_true=rows["label"].map(place).tolist(), preds=rows["predicted"].map(place).tolist(), class_names=classes
    )
    page = (run.path / REPORT).read_text(encoding="utf-8")
    tracked.log({"test/confusion_matrix": matrix, "report": wandb.Html(page, inject=False)})


def tell_of_cached(run: Run, tracking: TrackingConfig) -> None:
    """Give W&B a run of its own, marked as cached, for a run whose training comes from the cache.

    Nothing that W&B raises ends the run, which is finished.

    Args:
        run: the finished run.
        tracking: where W&B is.
    """
    try:
        import wandb

        tracked = wandb.init(
            project=tracking.project,
            entity=tracking.entity,
            name=tracking.name or run.path.name,
            notes=f"The training comes from the cache. {tracking.note or ''}".strip(),
            tags=["cached"],
            config=run.config.to_dict() | {"cached": True},
            mode=tracking.wandb,
            dir=str(folder()),
            settings=wandb.Settings(silent=True, console="off", save_code=False),
        )
        log_results(tracked, run, cached=True)
        tracked.finish()
    except Exception as error:  # noqa: BLE001 (of W&B, which raises what its network raises)
        logger.warning("W&B was not told of this run: %s", " ".join(str(error).split())[:300])


def say_where(folders: Sequence[Path], tracking: TrackingConfig) -> None:
    """Tell how an offline run gets to W&B: the attempts at one training have one ID and become one run there."""
    if folders and tracking.wandb == "offline":
        logger.info("W&B run kept offline; upload it with: wandb sync %s", " ".join(map(str, folders)))


def _tracked_before(stage: Stage, key: str) -> list[dict[str, str]]:
    unfinished = results.unfinished(results.place(stage, key, local=True))
    return _attempts(unfinished) if (unfinished / results.LAST_CHECKPOINT).is_file() else []


def _attempts(unfinished: Path) -> list[dict[str, str]]:
    file = unfinished / results.TRACKED
    return list(read_json(file)) if file.is_file() else []


def _text(value: str | None) -> str | None:
    """A name that comes out of Flyte's context as it went in: what reads as JSON there would turn into a number."""
    try:
        json.loads(value or "")
    except ValueError:
        return value
    return json.dumps(value)
