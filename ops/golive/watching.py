"""`leads golive precheck`, `day0`, `watch` and `baseline`: before the deployment, on the day, and after."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from leads.domain.body import ICT
from ops.checks.services import HasuraSource
from ops.clients.db_session import QUERIES, open_session
from ops.failures import CommandFailed, WrongUsage
from ops.files import write_file
from ops.golive.criterion import Part, Stage, criteria_of
from ops.golive.deploy.plan_file import PLAN, PlanOption, read_plan_file
from ops.golive.evidence import MAX_ROWS, p95_minutes
from ops.golive.gates import DEFAULT_RECORDS, Evaluation, RecordsFolder, evaluate, open_sources, show
from ops.golive.records import Kind, Records, newest
from ops.output import AsJson, print_json, say, show_activity
from ops.settings import read_operator_settings

DAY = ["%Y-%m-%d"]
DAYS = 7


Area = StrEnum("Area", ["ENGINE", "DATABASE", "EDGE", "METADATA", "PEOPLE"])
"""A part of the pre-check."""


def precheck(
    areas: Annotated[
        list[Area] | None, typer.Argument(metavar="[AREA]...", help="Only these; without any all of them.")
    ] = None,
    stage: Annotated[
        Stage | None, typer.Option(help="Only what can pass before, or after the deployment.")
    ] = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    file: PlanOption = PLAN,
    source: HasuraSource = "default",
    as_json: AsJson = False,
) -> None:
    """Check what has to be true before the deployment, and before each wave.

    Areas: engine, database, edge, metadata, people. Before the deployment give
    --stage before, after it --stage after: then each can pass. What is written to
    check a right or a speed is undone; no statement takes more than 30 s.

    Reads DATABASE_URL (the owner's), HASURA_URL, HASURA_ADMIN_SECRET,
    PROMETHEUS_URL, PUBLIC_URL and golive.yaml; what is missing is unknown, never
    green. Exit codes: 0 all is green, 1 something is red, yellow or unknown,
    3 only services that do not answer are in the way.
    """
    chosen = [Part(area.value) for area in areas or list(Area)]
    evaluation = evaluate_parts("pre-check", chosen, Path(folder), file, source, stage)
    show(evaluation, as_json=as_json)
    raise typer.Exit(evaluation.exit_code)


def evaluate_parts(
    subject: str, parts: Sequence[Part], folder: Path, file: Path, source: str, stage: Stage | None = None
) -> Evaluation:
    """Measure and judge every criterion of these parts now. Raises RecordsError and WrongUsage.

    With a stage those are left out that can pass in the other one only.
    """
    with (
        open_sources(folder, read_plan_file(file), source) as sources,
        show_activity(f"evaluating {subject}"),
    ):
        criteria = [each for each in criteria_of(*parts) if not stage or each.stage in (None, stage)]
        return evaluate(subject, criteria, sources, datetime.now(UTC))


def day0(
    folder: RecordsFolder = DEFAULT_RECORDS,
    file: PlanOption = PLAN,
    source: HasuraSource = "default",
    as_json: AsJson = False,
) -> None:
    """Check the installation right after the deployment.

    What each step of the deployment left, webhook, event trigger, crons, errors,
    metrics; the menu and the dashboard are attested. The result is kept in the
    folder of the records. Reads what precheck reads. Exit codes as of precheck.
    """
    evaluation = evaluate_parts("day 0", [Part.DEPLOY, Part.DAY0], folder, file, source)
    _show_and_keep(evaluation, folder, Part.DAY0, as_json=as_json)
    raise typer.Exit(evaluation.exit_code)


def watch(
    folder: RecordsFolder = DEFAULT_RECORDS,
    file: PlanOption = PLAN,
    source: HasuraSource = "default",
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
    evaluation = evaluate_parts(subject, [Part.WATCH], folder, file, source)
    _show_and_keep(evaluation, folder, Part.WATCH, as_json=as_json)
    if begun is not None:
        _tell_days(folder, [first + timedelta(days=number) for number in range(1, DAYS + 1)], _day(now))
    raise typer.Exit(evaluation.exit_code)


def _show_and_keep(evaluation: Evaluation, folder: Path, part: Part, *, as_json: bool) -> None:
    """Show an evaluation, and keep it under the day in Vietnam; a later one of the day replaces it."""
    show(evaluation, as_json=as_json)
    path = keep_document(evaluation.document(), folder, f"{part.value}-{_day(evaluation.at)}")
    say(f"The result is kept in {path}.")


def keep_document(document: Mapping[str, Any], folder: Path, name: str) -> Path:
    """Write a result as a whole, or not at all; return its path."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{name}.json"
    write_file(path, json.dumps(document, ensure_ascii=False, indent=2) + "\n")
    return path


def _tell_days(folder: Path, days: list[date], today: date) -> None:
    """Say how many of these days have a result, on which all passed, and which have none so far."""
    kept = {day: path for day in days if (path := folder / f"{Part.WATCH.value}-{day}.json").is_file()}
    passed = [day for day, path in kept.items() if json.loads(path.read_text("utf-8"))["is_open"]]
    say(f"{len(kept)} of {len(days)} days have a result, on {len(passed)} of them all passed.")
    if missing := [f"{day}" for day in days if day <= today and day not in kept]:
        say(f"Without a result: {', '.join(missing)}.")


def _day(at: datetime) -> date:
    """Return the day in Vietnam."""
    return at.astimezone(ICT).date()


def baseline(
    first: Annotated[datetime, typer.Option("--since", formats=DAY, help="The first day, in Vietnam.")],
    last: Annotated[datetime, typer.Option("--until", formats=DAY, help="The last day.")],
    source: Annotated[
        list[str] | None,
        typer.Option("--ticket-source", help="Only tickets of this source; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the response times of the tickets that people made by hand, as CSV.

    An unanswered ticket counts with its age at the end of the last day, as in the
    key figures. Hand the file in with: leads golive attest G-9. Needs DATABASE_URL.
    """
    if last < first:
        raise WrongUsage("--until is not earlier than --since.")
    start, end = (day.replace(tzinfo=ICT) for day in (first, last + timedelta(days=1)))
    params = {"from": start, "to": min(end, datetime.now(UTC)), "sources": source, "limit": MAX_ROWS + 1}
    with open_session(read_operator_settings("DATABASE_URL").database_url, "golive") as session:
        rows = session.execute(QUERIES["golive/list_baseline"], params).fetchall()
    if not rows:
        raise CommandFailed("There are no such tickets. Give other days, or another --ticket-source.")
    if len(rows) > MAX_ROWS:
        raise CommandFailed(f"There are more than {MAX_ROWS} tickets. Give fewer days.")
    times = [(row["created_at"], row["first_response_at"]) for row in rows]
    if as_json:
        p95 = p95_minutes([(answered - created).total_seconds() / 60 for created, answered in times])
        print_json({"from": start, "to": end, "tickets": len(times), "p95_minutes": p95})
    else:
        typer.echo(_csv(times), nl=False)


def _csv(times: list[tuple[datetime, datetime]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["created_at", "first_response_at"])
    writer.writerows([created.isoformat(), answered.isoformat()] for created, answered in times)
    return text.getvalue()
