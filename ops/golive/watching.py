"""`leads golive day0` and `leads golive watch`: the checks of the day itself, and of the first week."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from leads.domain.body import ICT
from ops.golive.criterion import Part
from ops.golive.document import evaluation_document
from ops.golive.gate import exit_code
from ops.golive.gates import Evaluation
from ops.golive.opening import DEFAULT_RECORDS, RecordsFolder
from ops.golive.precheck.evaluating import PLAN, PlanOption, evaluate_parts, show
from ops.golive.records import Kind, Records, newest
from ops.metadata.deploy import Source
from ops.output import AsJson, say

DAYS = 7


def day0(
    folder: RecordsFolder = DEFAULT_RECORDS,
    file: PlanOption = PLAN,
    source: Source = "default",
    as_json: AsJson = False,
) -> None:
    """Check the installation right after the deployment.

    What each step of the deployment left, webhook, event trigger, crons, errors,
    metrics; the menu and the dashboard are attested. The result is kept in the
    folder of the records. Reads what precheck reads. Exit codes as of precheck.
    """
    parts = [Part.DEPLOY, Part.DAY0]
    raise typer.Exit(exit_code(_look("day 0", parts, folder, file, source, as_json=as_json)))


def watch(
    folder: RecordsFolder = DEFAULT_RECORDS,
    file: PlanOption = PLAN,
    source: Source = "default",
    as_json: AsJson = False,
) -> None:
    """Check one day of the first week; run it once a day, from day 1 to day 7.

    Query plans, dead letters, missing leads, health of the connections, talks
    and review. The result of the day is kept, and the days without a result
    are named. Reads what precheck reads. Exit codes as of precheck.
    """
    now = datetime.now(UTC)
    begun = newest(Records(folder).read(), Kind.BEGIN, "W1", now)
    first = _day(now if begun is None else begun.holds_at)
    subject = "watch" if begun is None else f"day {(_day(now) - first).days}"
    evaluation = _look(subject, [Part.WATCH], folder, file, source, as_json=as_json)
    if begun is not None:
        _tell_days(folder, [first + timedelta(days=number) for number in range(1, DAYS + 1)], _day(now))
    raise typer.Exit(exit_code(evaluation))


def _look(
    subject: str, parts: Sequence[Part], folder: Path, file: Path, source: str, *, as_json: bool
) -> Evaluation:
    """Evaluate parts of the checklist, and keep the result under the name of the last of them."""
    evaluation = evaluate_parts(subject, parts, folder, file, source)
    show(evaluation, as_json=as_json)
    say(f"The result is kept in {_keep(evaluation, folder, parts[-1])}.")
    return evaluation


def _keep(evaluation: Evaluation, folder: Path, part: Part) -> Path:
    """Keep the result under the day in Vietnam; a later one of the same day replaces it."""
    return keep_document(evaluation_document(evaluation), folder, f"{part.value}-{_day(evaluation.at)}")


def keep_document(document: Mapping[str, Any], folder: Path, name: str) -> Path:
    """Write a result as a whole, or not at all; return its path."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{name}.json"
    partial = path.with_suffix(".partial")
    text = json.dumps(document, ensure_ascii=False, indent=2)
    with partial.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return path


def _tell_days(folder: Path, days: Sequence[date], today: date) -> None:
    """Say how many of these days have a result, on which all passed, and which have none so far."""
    kept = {day: path for day in days if (path := folder / f"{Part.WATCH.value}-{day}.json").is_file()}
    passed = [day for day, path in kept.items() if json.loads(path.read_text("utf-8"))["is_open"]]
    say(f"{len(kept)} of {len(days)} days have a result, on {len(passed)} of them all passed.")
    if missing := [f"{day}" for day in days if day <= today and day not in kept]:
        say(f"Without a result: {', '.join(missing)}.")


def _day(at: datetime) -> date:
    """Return the day in Vietnam."""
    return at.astimezone(ICT).date()
