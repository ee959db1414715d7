"""A prediction in parts: which are done, what they belong to, and what is made of them in the end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from landsift.data.decoding.unreadable import Cause, Reason
from landsift.data.unlabelled.entries import Entry
from landsift.errors import DataError, LandsiftError, RunError
from landsift.evaluation.part_files import join, read_note
from landsift.evaluation.parts import Part, PartDone, loaded_model
from landsift.evaluation.predict import OpenedModel, tell_left_out
from landsift.evaluation.predictions import write_rows
from landsift.evaluation.told import Told
from landsift.models.loading import fingerprint_of
from landsift.models.trust import tell
from landsift.runs import read_json, write_json
from landsift.runtime.outputs import absolute
from landsift.runtime.progress_bar import long_progress
from landsift.runtime.whole import remove_partials, write_whole
from landsift.version import __version__

logger = logging.getLogger("landsift")

MANIFEST, UNREADABLE, WORK, LIST = "_manifest.json", "_unreadable.csv", ".work", "entries.jsonl"
KIND = "predictions"
"""Of a manifest."""
MOST_LISTED = 10_000
"""Files that are left out of one table and listed with the result; of more there is a table."""
_FORMAT = 1

Runner = Callable[[Iterator[Part], Callable[[int], None]], Iterable[PartDone]]
"""Has parts done, in any order; the function it is given is called with the number of entries that are done since."""


@dataclass
class Result:
    """What became of a prediction.

    Attributes:
        out: path of the file or folder.
        rows: patches that are classified.
        predicted: patches of each class.
        skipped: files left out, `{"path", "reason"}` each, the first `MOST_LISTED`.
        left_out: how many are in all.
        abstain: patches that the model does not answer; None: it has no threshold.
        ood: patches out of distribution; None likewise.
        parts: how many were computed now, and how many were there.
    """

    out: Path
    rows: int = 0
    predicted: Counter[str] = field(default_factory=Counter)
    skipped: list[dict[str, str]] = field(default_factory=list)
    left_out: int = 0
    abstain: int | None = None
    ood: int | None = None
    parts: tuple[int, int] = (0, 0)

    def add(self, note: Mapping[str, Any]) -> None:
        """Count what was noted with a part."""
        self.rows += note["rows"]
        self.predicted.update(note["predicted"])
        for name in ("abstain", "ood"):
            if note[name] is not None:
                setattr(self, name, (getattr(self, name) or 0) + note[name])


def plan_of(opened: OpenedModel, paths: list[Path | str], reading: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a prediction the same as another: values of JSON."""
    module = opened.module if opened.module is None else str(opened.module)
    return {
        "kind": KIND,
        "format": _FORMAT,
        "landsift": __version__,
        "model": {"path": str(absolute(opened.model)), "fingerprint": fingerprint_of(opened.model)},
        "settings": {"module": module, "reading": json.loads(json.dumps(dict(reading), default=str))},
        "sources": [str(path) for path in paths],
        "files": opened.listed.entries.count,
        "list": opened.listed.entries.digest(),
        "passed_over": len(opened.listed.passed_over),
    }


class Work:
    """A prediction in parts."""

    def __init__(self, opened: OpenedModel, plan: dict[str, Any], out: Path, work: Path, *, folder: bool) -> None:
        self.opened, self.plan, self.out, self.work, self.folder = opened, plan, out, work, folder
        self.place = out if folder else work
        self.manifest = self.place / MANIFEST
        same = {key: value for key, value in plan.items() if key != "sources"}
        same["model"] = plan["model"]["fingerprint"]  # wherever it lies
        self.id = hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]

    def done(self, run: Runner) -> Result:
        """Do what is not done yet, and put it together; where no part is done in the end, nothing is left behind."""
        try:
            before = self._before()
            parts = list(self._parts())
            self._refuse_others(parts)
            waiting = [part for part in parts if not self._is_there(part)]
            if before.get("complete") and not waiting:
                logger.info("%s is complete: nothing is computed again", self.out)
                shutil.rmtree(self.work, ignore_errors=True)
                return self._result(parts, 0)
            if not before or before["complete"]:  # of which a part is gone
                write_json(self.manifest, {**self.plan, "complete": False})
                write_whole(self.work / LIST, self.opened.listed.entries.write)
            remove_partials(self.place)
            self._compute(run, waiting, len(parts))
            remove_partials(self.place)  # of another machine that died meanwhile
            return self._put_together(parts, len(waiting))
        finally:
            if not any(self.place.glob("part-*")):
                self._remove()

    def _before(self) -> dict[str, Any]:
        """The manifest of an interrupted or finished call for the same; empty where there is none, or no part."""
        if not self.manifest.is_file() or not any(self.place.glob("part-*")):
            return {}
        try:
            before = dict(read_json(self.manifest))
        except (LandsiftError, TypeError, ValueError):  # no JSON, or no object in it
            before = {}
        self._compare(before)
        if not before["complete"] and not (self.work / LIST).is_file():
            write_whole(self.work / LIST, self.opened.listed.entries.write)
        return before

    def _refuse_others(self, parts: list[Part]) -> None:
        """Refuse files that would be read with the parts of a folder and are none of them."""
        if not self.folder:
            return
        names = {Path(part.out).name for part in parts}
        other = next((each for each in sorted(self.out.glob("[!._]*")) if each.name not in names), None)
        if other is not None:
            message = f"{other} is not of this prediction, and would be read as a part of it"
            raise RunError(message, "move it away, or give --out a new folder")

    def _compute(self, run: Runner, waiting: list[Part], total: int) -> None:
        finished = total - len(waiting)
        if finished:
            logger.info("%d of %d parts are there already: going on", finished, total)
        if not waiting:
            return
        loaded = loaded_model(*_of_model(waiting[0]))
        if loaded.predictor.trust is not None:
            tell(loaded.predictor.trust)
        files, left = self.opened.listed.entries.count, sum(part.count for part in waiting)
        try:
            with long_progress("Classifying", files, files - left) as advance:
                for _ in run(iter(waiting), advance):
                    finished += 1
        except BaseException:
            if finished:
                logger.info("%d of %d parts are kept; the same command goes on from there", finished, total)
            raise

    def _remove(self) -> None:
        """Delete what this call has made, all but a folder that has other files."""
        for part in self.place.glob("part-*"):
            part.unlink(missing_ok=True)
        self.manifest.unlink(missing_ok=True)
        shutil.rmtree(self.work, ignore_errors=True)
        if self.folder:
            with contextlib.suppress(OSError):
                self.out.rmdir()

    def _parts(self) -> Iterator[Part]:
        ending = "parquet" if self.folder else "npz"
        settings, model = self.plan["settings"], self.plan["model"]
        for number, (start, count) in enumerate(self.opened.listed.entries.slices()):
            yield Part(
                number=number,
                plan=self.id,
                model=model["path"],
                fingerprint=model["fingerprint"],
                module=settings["module"],
                reading=json.dumps(settings["reading"]),
                folder=os.getcwd(),  # noqa: PTH109 (a text)
                list=str(self.work / LIST),
                start=start,
                count=count,
                out=str(self.place / f"part-{number:05d}.{ending}"),
            )

    def _is_there(self, part: Part) -> bool:
        file = Path(part.out)
        if not file.exists():
            return False
        note = read_note(file)
        if note is None or (note.get("plan"), note.get("number")) != (self.id, part.number):
            logger.warning("%s is damaged, or is of another prediction: it is computed again", file)
            return False
        return True

    def _compare(self, before: Mapping[str, Any]) -> None:
        """Refuse to go on with another model, other files or other settings."""
        way_out = "give --out a new folder" if self.folder else f"delete {self.work} to begin again"
        plan = self.plan
        said = f"{self.out} was begun"
        if before.get("kind") != KIND or before.get("format") != _FORMAT or not {*plan, "complete"} <= {*before}:
            raise RunError(f"{self.manifest} is none that this landsift wrote", way_out)
        if before["landsift"] != plan["landsift"]:
            raise RunError(f"{said} by landsift {before['landsift']}, and this is {plan['landsift']}", way_out)
        if before["model"]["fingerprint"] != plan["model"]["fingerprint"]:
            was, now = before["model"], plan["model"]
            raise RunError(
                f"{said} with another model: {was['path']} ({was['fingerprint']}), not {now['path']} "
                f"({now['fingerprint']})", way_out
            )  # fmt: skip
        if before["settings"] != plan["settings"]:
            was, now = (json.dumps(each["settings"]) for each in (before, plan))
            raise RunError(f"{said} with other settings: {was}, not {now}", way_out)
        if before["list"] != plan["list"]:
            files = f"{before['files']:,} files then, {plan['files']:,} now"
            raise RunError(f"{said} with other files: {files}{self._first_other()}", way_out)

    def _first_other(self) -> str:
        """The first file that differs from the list before, in words; "" where that is not there any more."""
        try:
            with (self.work / LIST).open("rb") as lines:
                before = map(Entry.of, lines)
                for now in self.opened.listed.entries:
                    then = next(before, None)
                    if now != then:
                        changed = then is not None and (then.path, then.at) == (now.path, now.at)
                        return f"; {now.path} {'was written again' if changed else 'is where another was'}"
                then = next(before, None)
                return "" if then is None else f"; {then.path} is not there any more"
        except (OSError, ValueError):
            return ""

    def _put_together(self, parts: list[Part], computed: int) -> Result:
        result = self._result(parts, computed)
        try:
            self._say(parts)
        except DataError:  # none can be read
            self._remove()
            raise
        if result.left_out and (self.folder or result.left_out > MOST_LISTED):
            write_left_out(self.out, folder=self.folder, rows=self._left_out(parts))
        if self.folder:
            write_json(self.manifest, self._complete(parts, result))
        else:
            places = any(note["places"] for note in map(_note, parts))
            join([Path(part.out) for part in parts], self.out, places=places)
        shutil.rmtree(self.work, ignore_errors=True)
        return result

    def _say(self, parts: list[Part]) -> None:
        told = Told()
        for part in parts:
            told = told.plus(Told.from_json(_note(part)["told"]))
        unreadable = (
            (path, Reason(text, Cause[cause])) for part in parts for path, text, cause in _note(part)["unreadable"]
        )
        tell_left_out(unreadable, told.files)
        told.say(self.opened.patches, self.opened.description.patch_size)

    def _left_out(self, parts: list[Part]) -> Iterator[tuple[str, str]]:
        yield from self.opened.listed.passed_over
        for part in parts:
            for path, text, _ in _note(part)["unreadable"]:
                yield path, text

    def _result(self, parts: list[Part], computed: int) -> Result:
        result = Result(self.out, parts=(computed, len(parts) - computed))
        for part in parts:
            result.add(_note(part))
        for path, reason in self._left_out(parts):
            result.left_out += 1
            if result.left_out <= MOST_LISTED:
                result.skipped.append({"path": path, "reason": reason})
        return result

    def _complete(self, parts: list[Part], result: Result) -> dict[str, Any]:
        rows, entries, seconds, of_model = 0, 0, 0.0, 0.0
        listed = []
        for part in parts:
            note = _note(part)
            own = {"file": Path(part.out).name, "first_row": rows, "rows": note["rows"]}
            listed.append({**own, "first_file": entries, "files": part.count, "unreadable": len(note["unreadable"])})
            rows, entries = rows + note["rows"], entries + part.count
            seconds, of_model = seconds + note["seconds"], of_model + note["model_seconds"]
        return {
            **self.plan,
            "complete": True,
            "classes": list(self.opened.description.classes),
            "rows": result.rows,
            "left_out": result.left_out,
            "predicted": dict(result.predicted.most_common()),
            "abstain": result.abstain,
            "ood": result.ood,
            "seconds": round(seconds, 1),
            "seconds_of_model": round(of_model, 1),
            "parts": listed,
        }


def _of_model(part: Part) -> tuple[str, str, str | None, str, str]:
    return part.model, part.fingerprint, part.module, part.reading, part.folder


def _note(part: Part) -> dict[str, Any]:
    note = read_note(Path(part.out))
    if note is None:
        raise RunError(f"{part.out} cannot be read any more", "run the command again: it is computed again")
    return note


def write_left_out(out: Path, *, folder: bool, rows: Iterable[tuple[str, str]]) -> None:
    """The table of what is left out."""
    file = out / UNREADABLE if folder else out.with_name(f"{out.stem}.unreadable.csv")
    write_rows(file, ("path", "reason"), rows)
    logger.warning("files that are left out are listed in %s", file)
