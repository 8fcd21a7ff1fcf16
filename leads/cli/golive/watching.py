"""`leads golive day0` and `leads golive watch`: the checks of the day itself, and of the first week."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from leads.cli.golive.criterion import Part
from leads.cli.golive.document import evaluation_document
from leads.cli.golive.gate import exit_code
from leads.cli.golive.gates import Evaluation
from leads.cli.golive.opening import DEFAULT_RECORDS, RecordsFolder
from leads.cli.golive.precheck.evaluating import PLAN, PlanOption, evaluate_parts, show
from leads.cli.golive.records import Kind, Records, newest
from leads.cli.metadata.opening import Source
from leads.cli.output import AsJson, say

DAYS = 7
ICT = timedelta(hours=7)
"""A day of the pilot begins at midnight in Vietnam."""


def day0(
    folder: RecordsFolder = DEFAULT_RECORDS,
    file: PlanOption = PLAN,
    source: Source = "default",
    as_json: AsJson = False,
) -> None:
    """Check the installation right after the deployment.

    Webhook, event trigger, crons, errors, metrics; the menu and the dashboard
    are attested. The result is kept in the folder of the records. Reads what
    precheck reads. Exit codes as of precheck.
    """
    _look("day 0", Part.DAY0, folder, file, source, as_json=as_json)


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
    begun = newest(Records(folder).read(), Kind.BEGIN, "W1", datetime.now(UTC))
    day = None if begun is None else _days_between(begun.holds_at, datetime.now(UTC))
    _look("watch" if day is None else f"day {day}", Part.WATCH, folder, file, source, as_json=as_json)


def _look(subject: str, part: Part, folder: Path, file: Path, source: str, *, as_json: bool) -> None:
    evaluation = evaluate_parts(subject, [part], folder, file, source)
    show(evaluation, as_json=as_json)
    path = _keep(evaluation, folder, part)
    say(f"The result is kept in {path}.")
    if part is Part.WATCH:
        _tell_days(folder)
    raise typer.Exit(exit_code(evaluation))


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


def _tell_days(folder: Path) -> None:
    """Say how many of the first seven days have a result, and on which all passed."""
    days = sorted(folder.glob(f"{Part.WATCH.value}-*.json"))[:DAYS]
    passed = [path.stem[-10:] for path in days if json.loads(path.read_text("utf-8"))["is_open"]]
    say(f"{len(days)} of {DAYS} days have a result, on {len(passed)} of them all passed.")


def _day(at: datetime) -> str:
    return f"{at.astimezone(UTC) + ICT:%Y-%m-%d}"


def _days_between(begun: datetime, now: datetime) -> int:
    first, last = (datetime.fromisoformat(_day(each)) for each in (begun, now))
    return (last - first).days
