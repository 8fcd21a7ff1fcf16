"""`leads golive gate`, `leads golive list` and `leads golive begin`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console

from ops.failures import CommandFailed, WrongUsage
from ops.golive.criterion import Part, criteria_of, load_criteria
from ops.golive.gates import (
    DEFAULT_RECORDS,
    By,
    Inputs,
    RecordsFolder,
    Subject,
    Wave,
    gate_at,
    gate_file,
    open_inputs,
    print_criterion,
    print_evaluation,
    show,
    time_text,
    wave_before,
)
from ops.golive.measuring import SCANS_FILE, scans_file
from ops.golive.records import Kind, newest
from ops.golive.stating import state
from ops.output import AsJson, print_json, print_line, say, show_activity
from ops.settings import read_operator_settings

TIMES = ["%Y-%m-%dT%H:%M", "%Y-%m-%d"]
At = Annotated[
    datetime | None, typer.Option("--at", formats=TIMES, help="A time in UTC; without it the present.")
]
MAX_BACKDATED = timedelta(days=7)


def gate(
    subject: Annotated[Subject, typer.Argument(help="The wave whose end is judged, or the sign-off.")],
    at: At = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Evaluate the exit gate of a wave (may the next wave begin?), or the sign-off.

    The gate is open if every criterion is pass, waived or not applicable, and the
    gate of the wave before was open when this wave began; the sign-off needs that
    of W4. What cannot be measured is inconclusive, never a pass. Exit codes: 0
    open, 1 closed, 3 closed only because a service does not answer.

    Reads DATABASE_URL, PROMETHEUS_URL and COMMIT; a source without its variable is
    inconclusive. --at judges a time in the past by what the database, Prometheus
    and the records say of it.
    """
    with open_inputs(folder) as inputs, show_activity(f"evaluating gate {subject}"):
        evaluation = gate_at(subject, inputs, moment(at))
    show(evaluation, as_json=as_json)
    raise typer.Exit(evaluation.exit_code)


def moment(at: datetime | None) -> datetime:
    """Return the time of an evaluation. Raises WrongUsage for one in the future."""
    now = datetime.now(UTC)
    if at is None:
        return now
    given = at.replace(tzinfo=UTC)
    if given > now:
        raise WrongUsage(f"{given:%Y-%m-%d %H:%M} UTC is in the future. Give a time in UTC.")
    return given


def list_criteria(
    wave: Annotated[
        Wave | None, typer.Option("--gate", help="Only what the gate of this wave needs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the criteria: title and target, waves, source, lines of the checklist."""
    criteria = criteria_of(Part(wave)) if wave else load_criteria()
    if as_json:
        print_json([
            {
                "id": each.id, "lines": each.lines, "title": {"vi": each.title_vi, "en": each.title_en},
                "parts": each.parts, "source": each.source, "query": each.query,
                "target": each.shown_target, "owner": each.owner, "remediation": each.remediation,
                "runbook": each.runbook,
            }
            for each in criteria
        ])  # fmt: skip
        return
    console = Console()
    for criterion in criteria:
        print_criterion(criterion, console)


def begin(
    wave: Annotated[Wave, typer.Argument(help="The wave that begins.")],
    by: By,
    since: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, help="When it began, in UTC, at most 7 days ago; without it now."),
    ] = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Record that a wave begins: its figures count from then on.

    Evaluates the gate of the wave before and refuses (exit code 1) while it is
    closed. Keeps the result of the gate, and how often large tables were read
    whole and indexes were read, as evidence. Needs DATABASE_URL.
    """
    read_operator_settings("DATABASE_URL")
    evidence = []
    with open_inputs(folder) as inputs:
        start = _start(wave, moment(since), inputs)
        if earlier := wave_before(wave):
            with show_activity(f"evaluating the gate before {wave}"):
                before = gate_at(earlier, inputs, datetime.now(UTC))
            if not before.is_open:
                print_evaluation(before, Console(stderr=True))
                say(f"{wave} cannot begin: the gate of {earlier} is closed.")
                raise typer.Exit(before.exit_code)
            document = json.dumps(before.document(), ensure_ascii=False, indent=1)
            evidence.append((gate_file(earlier), document.encode()))
        evidence.insert(0, (SCANS_FILE, scans_file(inputs.sources.database(), datetime.now(UTC))))
        record = inputs.sources.records.add(state(Kind.BEGIN, wave, by, since=start), evidence)
    if as_json:
        print_json({"wave": wave, "since": start, "record": record.number, "sha256": record.sha256()})
    else:
        print_line(f"{wave} began at {time_text(start)}. Record {record.number}, {record.sha256()[:12]}")


def _start(wave: str, start: datetime, inputs: Inputs) -> datetime:
    """Check when the wave began. Raises WrongUsage or CommandFailed."""
    now = datetime.now(UTC)
    if start < now - MAX_BACKDATED:
        raise WrongUsage(f"--since is at most {MAX_BACKDATED.days} days ago.")
    if found := newest(inputs.records, Kind.BEGIN, wave, now):
        raise CommandFailed(f"{wave} began at {time_text(found.holds_at)} already (record {found.number}).")
    earlier = wave_before(wave)
    if earlier is None:
        return start
    begun = newest(inputs.records, Kind.BEGIN, earlier, now)
    if begun is None:
        raise CommandFailed(f"{earlier} has not begun: leads golive begin {earlier} --by NAME")
    if start <= begun.holds_at:
        raise WrongUsage(f"--since is after {time_text(begun.holds_at)}, when {earlier} began.")
    return start
