"""Run the pipeline on this machine."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from landsift.config import BUILT_IN_SOURCES, RunConfig, cache_folder
from landsift.errors import LandsiftError, RunError
from landsift.pipeline import inputs, reproduce, tracking
from landsift.pipeline.cache import locks
from landsift.pipeline.flyte import failures, local
from landsift.pipeline.flyte.submit import submit as submit
from landsift.runs import MANIFEST, Run
from landsift.runtime import interruption, outputs, surroundings
from landsift.runtime.whole import beside, exchange, flush, remove_left_behind, writing


def run(
    config: inputs.Config,
    out: Path | str,
    *,
    data: inputs.Data = None,
    cache: bool = True,
    command: Sequence[str] | None = None,
    config_file: Path | None = None,
) -> Run:
    """Run all stages on this machine; those whose results are in the cache are not run again.

    Args:
        config: a configuration, nested values such as `{"training": {"image_size": 64}}`, a YAML file, or None.
        out: the run directory to make; absent or empty. It appears when all is done.
        data: a store, or what `data.source` may name; None: what the configuration names.
        cache: False runs every stage again, from its beginning.
        command: the command line, for the manifest.
        config_file: where `config` comes from: if that is a run's config.yaml, that run is repeated, and compared.

    Returns:
        The finished run.

    Raises:
        LandsiftError: the output, the data, the model or the tracking cannot be used, or another run is at work in
            this process.
        Terminated: SIGTERM has come, or another signal that ends the process. The same call resumes,
            as after any interruption.
        KeyboardInterrupt: Ctrl+C, or a notebook's Stop; it comes when no process of the run is left.
    """
    if config_file is None and isinstance(config, str | Path):
        config_file = Path(config).expanduser()
    chosen = inputs.configured(config, data).absolute()
    given = {
        "config_json": chosen.model_dump_json(),
        "command_json": json.dumps(command and [*command]),
        "repeats_json": json.dumps(reproduce.original(chosen, config_file)),
        "afresh": "no" if cache else "yes",
    }

    def tell(folder: Path) -> None:
        finished = Run.open(folder)
        if chosen.tracking.wandb == "online" and finished.manifest["stages"]["train_model"]["cached"]:
            tracking.tell_of_cached(finished, chosen.tracking)

    return Run.open(execute("landsift_pipeline", given, chosen, out, last=MANIFEST, then=tell))


def execute(
    task: str,
    inputs: Mapping[str, str],
    config: RunConfig,
    out: Path | str,
    *,
    last: str,
    replace: bool = False,
    then: Callable[[Path], None] | None = None,
) -> Path:
    """Run a task of `tasks.py` here; the folder that it returns becomes `out`, whole or not at all.

    Args:
        task: its name.
        inputs: of the task.
        config: what says how the run is tracked.
        out: a new or empty folder.
        last: the file that comes last into an `out` that is there already: with it the folder is complete.
        replace: `out` holds an older result of the same kind, which the new one takes the place of.
        then: called with `out` when it is complete.

    Returns:
        `out`, absolute.
    """
    import_module("landsift.reports")  # what a report lacks is said before the training, not after it
    of_wandb = surroundings.wandb_variables(os.environ)
    with (
        interruption.interruptible("stopped; the same call resumes from the last checkpoint, if there is one"),
        surroundings.alone("landsift run"),
        surroundings.as_guest(also=local.OF_A_CLUSTER),
    ):
        out = _checked(outputs.absolute(out), config, replace=replace)
        tracking.check_key(config.tracking)
        tracking.say_what_is_unused(config.tracking, of_wandb)
        with locks.only_writer(out), locks.using(cache_folder()):
            with writing(cache_folder()):
                tracking.prepare()
            with _output(out, replace=replace) as partial, local.private_flyte() as flyte:
                local.in_loop(_run_local(flyte, task, inputs, config, out.name, partial))
                if replace:
                    with writing(out):
                        flush(partial / "run")
                        exchange(partial / "run", out)
                else:
                    _put_in_place(partial / "run", out, last)
            if then is not None:
                then(out)
    return out


def _checked(out: Path, config: RunConfig, *, replace: bool) -> Path:
    """Check the output folder and the cache folder before anything is written; the folder to write to.

    Raises:
        RunError: what comes out could not be put there, or not be kept, or would lie among the patches.
    """
    cache = cache_folder()
    outputs.check_name(cache, "the cache folder", "set LANDSIFT_HOME to another folder")
    if cache.is_relative_to(out):
        raise RunError(f"output folder {out} is where landsift keeps its cache", "give --out another folder")
    outputs.check_name(out, "output folder")
    if config.data.source not in BUILT_IN_SOURCES:
        outputs.check_outside(out, [config.data.source])
        hint = "set LANDSIFT_HOME to a folder outside of it"
        outputs.check_outside(cache, [config.data.source], "the cache folder", hint, may_be_hidden=True)
    remove_left_behind(out)
    remove_left_behind(out / out.name)
    if not replace:
        return outputs.check_output(out)
    out = out.resolve()  # what a link leads to is replaced, not the link
    outputs.check_name(out, "output folder")
    if os.path.ismount(out):
        raise RunError(f"{out} holds a comparison, and is a disk of its own", "give --out a new folder")
    return out


async def _run_local(
    flyte: Any, task: str, inputs: Mapping[str, str], config: RunConfig, name: str, partial: Path
) -> None:
    """Run a task in Flyte's local mode; what it returns comes to be at `partial`/run."""
    from landsift.pipeline import tasks

    await local.initialise(flyte.init.aio)
    runner = flyte.with_runcontext(
        mode="local",
        custom_context=tracking.context(config, name=name),
        disable_run_cache=True,  # a result is a folder under its key: Flyte's database would be a second truth
        raw_data_path=str(partial),
    )
    # Without this Flyte writes to /tmp/flyte, which belongs to the first user of the machine who ran it.
    runner._metadata_path = str(partial / "flyte")
    failures.forget()
    try:
        # The coroutine itself: `runner.run` and `runner.run.aio` would move the training to a background thread.
        await runner.run.__wrapped__(runner, getattr(tasks, task), **inputs)
    except Exception as error:  # noqa: BLE001 (whatever it is, its original is raised)
        original = failures.original(error)
        raise original from (None if isinstance(original, LandsiftError) else original.__cause__)
    finally:
        failures.forget()


@contextlib.contextmanager
def _output(out: Path, *, replace: bool) -> Iterator[Path]:
    """A folder to work in, on the disk of `out`, which is deleted in the end, as are parents made for nothing."""
    missing = [p for p in out.parents if not p.exists()]
    # Where `out` is there already, its parent may be another disk or not be the user's.
    inside = out / out.name
    place = inside if out.is_dir() and not replace else out
    try:
        with beside(place) as partial:
            try:
                partial.mkdir(parents=True)
            except OSError as error:
                raise outputs.output_error(out, error) from None
            yield partial
    finally:
        if not out.is_dir():
            for parent in missing:
                with contextlib.suppress(OSError):
                    parent.rmdir()


def _put_in_place(finished: Path, out: Path, last: str) -> None:
    """Make `finished` the folder `out`: by one rename, or, into an existing folder, the file `last` last."""
    with writing(out):
        flush(finished)
        if not out.exists():
            finished.rename(out)
            return
        others = [p for p in out.iterdir() if p != finished.parent]
        if others:
            raise RunError(f"output folder {out} is no longer empty: {others[0].name}", "give --out a new folder")
        for path in sorted(finished.iterdir(), key=lambda p: p.name == last):
            path.rename(out / path.name)
