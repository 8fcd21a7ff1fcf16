"""`leads golive begin`: a wave begins, if the gate of the wave before is open."""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.console import Console

from ops.failures import CommandFailed, WrongUsage
from ops.golive.document import evaluation_document
from ops.golive.gate import TIMES, exit_code, moment
from ops.golive.gates import Evaluation, Inputs, wave_before
from ops.golive.load import load_criteria
from ops.golive.opening import (
    DEFAULT_RECORDS,
    By,
    RecordsFolder,
    Wave,
    gate_at,
    gate_file,
    open_inputs,
)
from ops.golive.records import Kind, Record, newest
from ops.golive.scans import FILE, scans_file
from ops.golive.stating import state
from ops.golive.text import print_evaluation, time_text
from ops.output import AsJson, print_json, print_line, say, show_activity
from ops.settings import read_operator_settings

MAX_BACKDATED = timedelta(days=7)


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
    with open_inputs(folder) as inputs:
        start = _start(wave, moment(since), inputs)
        with show_activity(f"evaluating the gate before {wave}"):
            before = _evaluate_before(wave, inputs)
        if before is not None and not before.is_open:
            print_evaluation(before, Console(stderr=True))
            say(f"{wave} cannot begin: the gate of {before.subject} is closed.")
            raise typer.Exit(exit_code(before))
        record = _append(wave, by, start, before, inputs)
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


def _evaluate_before(wave: str, inputs: Inputs) -> Evaluation | None:
    before = wave_before(wave)
    return gate_at(before, load_criteria(), inputs, datetime.now(UTC)) if before else None


def _append(wave: str, by: str, start: datetime, before: Evaluation | None, inputs: Inputs) -> Record:
    """Keep the evidence and append the record. Raises RecordsError."""
    records = inputs.sources.records
    files = {FILE: scans_file(inputs.sources.database(), datetime.now(UTC))}
    if before is not None:
        document = json.dumps(evaluation_document(before), ensure_ascii=False, indent=1)
        files[gate_file(before.subject)] = document.encode()
    return records.add(state(Kind.BEGIN, wave, by, since=start), [*files.items()])
