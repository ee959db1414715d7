"""`landsift evaluate`: a trained model on other labelled patches."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landsift import runs
from landsift.cli.options import refuse_idle, settings_of
from landsift.cli.printing import print_result
from landsift.config import BUILT_IN_SOURCES, READING, RunConfig
from landsift.errors import LandsiftError
from landsift.runtime.outputs import check_file, check_output, check_outside, output_error

if TYPE_CHECKING:
    from landsift.data.store.patch_store import PatchStore


def evaluate(
    run: Path,
    source: str,
    out: Path | None,
    *,
    part: str | None,
    known_only: bool,
    settings: Iterable[str],
    module: str | None,
    as_json: bool,
) -> None:
    """Decode the source as the model's patches were, test the model on it, write and print the figures."""
    from landsift.evaluation.model_files import files_for
    from landsift.evaluation.new_data import evaluate_store
    from landsift.models.loading import load_model
    from landsift.pipeline.cache.open_store import opened
    from landsift.runs import STORE_META

    out = None if out is None else check_output(out)
    if out is not None:
        check_file(out / runs.EVALUATION)
        if source not in BUILT_IN_SOURCES:
            check_outside(out, [source])
    predictor = load_model(run, module=module)
    height, width = predictor.description.patch_size
    settings = list(settings)
    acting = (*settings_of(source, stored=False), "seed")
    refuse_idle(settings, acting, "in an evaluation of this source: the model is as it was trained")
    config = RunConfig.load(None, settings).replace(f"data.source={json.dumps(source)}")
    is_store = (Path(source).expanduser() / STORE_META).is_file()
    data, taken = config.data, None
    if not is_store and source != "synthetic":
        given = {name: getattr(data, name) for name in READING if name in data.model_fields_set}
        read, taken = files_for(predictor.description, given)
        data = data.model_copy(update={name: getattr(read, name) for name in READING})
    if height == width and not is_store:
        data = data.model_copy(update={"patch_size": height})
    with opened(data, least_classes=1, taken=taken) as store:
        result, table = evaluate_store(
            predictor, store, part=part, known_only=known_only, trained_on=_store_of(run), seed=config.seed
        )
        skipped = list(store.skipped)
    result = {"run": str(run), "source": source, "part": part, "skipped": skipped} | result
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(out, error) from None
        runs.write_json(out / runs.EVALUATION, result)
        runs.write_parquet(out / runs.PREDICTIONS, table)
    print_result(result | {"out": None if out is None else str(out)}, _lines(result, run, out), as_json=as_json)


def _lines(result: dict[str, Any], run: Path, out: Path | None) -> list[str]:
    figures = result["figures"]
    intervals = figures["intervals"]
    over = f"{figures['n']:,} patches"
    if intervals["over"] == "groups":
        over += f" in {intervals['groups']:,} groups"
    low, high = (100 * bound for bound in intervals["accuracy"])
    lines = [
        f"accuracy       {100 * figures['accuracy']:.2f} %   (95 % interval {low:.2f} to {high:.2f}, {over})",
        f"macro F1       {figures['macro_f1']:.4f}",
        f"ECE            {figures['ece']:.3f}",
    ]
    lines += _trust_lines(result["trust"])
    if own := _own_accuracy(run):
        lines.append(f"own test       {100 * own:.2f} %   (test accuracy of the run)")
    width = max(map(len, figures["per_class"]))
    lines += ["", f"{'':<{width}}  patches  precision  recall     F1"]
    for name, row in figures["per_class"].items():
        numbers = f"{row['precision']:>9.3f}  {row['recall']:>6.3f}  {row['f1']:>5.3f}" if row["support"] else ""
        lines.append(f"{name:<{width}}  {row['support']:>7,}  {numbers}".rstrip())
    return lines + (["", f"figures        {out}"] if out else [])


def _trust_lines(trust: dict[str, Any] | None) -> list[str]:
    """What sets, abstention and out-of-distribution flags are like on these patches."""
    if trust is None:
        return []
    sets, abstention = trust["sets"], trust["abstention"]
    lines = [
        f"sets           hold the class of {100 * sets['coverage']:.2f} %{_ends(sets)} (chosen: "
        f"{100 * trust['coverage']:g} %), {sets['size']:.2f} classes on average",
    ]
    if abstention is not None:
        wrong = abstention["risk"]  # None where the model abstains from all
        of_which = "" if wrong is None else f", of which {100 * wrong:.2f} % are wrong{_ends(abstention)}"
        lines.append(
            f"answered       {100 * abstention['answered']:.2f} %{of_which} (chosen: at most {100 * trust['risk']:g} %)"
        )
    return [*lines, f"ood            {100 * trust['ood']:.2f} %   (out of distribution)"]


def _ends(row: dict[str, Any]) -> str:
    """The 95 % interval of a share, without which few patches seem to show much."""
    interval = row["interval"]
    return "" if interval is None else f", {100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def _store_of(run: Path) -> PatchStore | None:
    """The store that the run was trained from; None where only the run's model is left."""
    from landsift.data.store.store_of_run import store_of_run

    try:
        return store_of_run(runs.Run.open(run))
    except LandsiftError:
        return None


def _own_accuracy(run: Path) -> float | None:
    """The test accuracy of the run; None where only its model is left."""
    try:
        return float(runs.Run.open(run).evaluation["test"]["accuracy"])
    except (LandsiftError, KeyError, TypeError, ValueError):
        return None
