"""`leads golive attest`, `waive` and `not-applicable`: what people state, as records."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

from leads.domain.body import ICT
from ops.failures import WrongUsage
from ops.golive.criterion import Criterion, Source, find_criterion
from ops.golive.evidence import read_evidence_file
from ops.golive.gates import DEFAULT_RECORDS, By, RecordsFolder
from ops.golive.records import Kind, Record, Records, make_statement, read_file
from ops.output import AsJson, print_json, print_line

MAX_WAIVER_DAYS = 180
CriterionId = Annotated[str, typer.Argument(metavar="ID", help="The id of a criterion: leads golive list")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who read it later.")]


def attest(
    criterion_id: CriterionId,
    evidence: Annotated[
        list[Path], typer.Option("--evidence", metavar="FILE", help="A file that proves it; may be repeated.")
    ],
    by: By,
    value: Annotated[
        float | None, typer.Option(help="What was found; for a criterion of source file the file says it.")
    ] = None,
    cases: Annotated[int | None, typer.Option(help="How many were asked, of a survey.", min=1)] = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Record what only a person can answer, or a file that proves a criterion.

    The record is appended to those of the folder, with the hash of the one before
    it; the evidence is kept under its hash. A later record of the same criterion
    replaces this one.
    """
    criterion = find_criterion(criterion_id)
    files = [read_file(path) for path in evidence]
    stated = _attested_value(criterion, value, cases, [content for _, content in files])
    statement = make_statement(Kind.ATTEST, criterion_id, by, value=stated, cases=cases)
    record = Records(folder).add(statement, files)
    shown = f"{criterion_id} = {criterion.shown(stated)}" if stated is not None else criterion_id
    _print(record, f"Attested {shown}", as_json)


def _attested_value(
    criterion: Criterion, value: float | None, cases: int | None, evidence: list[bytes]
) -> float | None:
    """Check what is attested; return the value, that of the file if it says it. Raises WrongUsage."""
    if criterion.source is Source.FILE:
        if value is not None or cases is not None or len(evidence) != 1:
            raise WrongUsage(f"{criterion.id} is decided by one file: give it --evidence, and no --value.")
        return read_evidence_file(criterion, evidence[0]).value
    if criterion.source is not Source.PERSON:
        raise WrongUsage(
            f"{criterion.id} is measured ({criterion.source}) and cannot be attested. See waive."
        )
    if value is None or not isfinite(value):
        raise WrongUsage(f"Give the value of {criterion.id} with --value.")
    if criterion.range and not criterion.range[0] <= value <= criterion.range[1]:
        low, high = criterion.range
        raise WrongUsage(f"The value of {criterion.id} is from {low:g} to {high:g}, not {value:g}.")
    if criterion.min_samples and cases is None:
        raise WrongUsage(f"Say how many were asked for {criterion.id} with --cases.")
    return value


def waive(
    criterion_id: CriterionId,
    reason: Reason,
    until: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The last day, in Vietnam; at most 180 days.")
    ],
    by: By,
    evidence: Annotated[
        list[Path] | None, typer.Option("--evidence", metavar="FILE", help="The signed waiver.")
    ] = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Accept until a day that a criterion is not met, or not known.

    A waiver never hides a pass. The day may be moved by a later waiver.
    """
    find_criterion(criterion_id)
    end = (until + timedelta(days=1)).replace(tzinfo=ICT)
    now = datetime.now(UTC)
    if not now < end <= now + timedelta(days=MAX_WAIVER_DAYS + 1):
        raise WrongUsage(f"--until is from today to {MAX_WAIVER_DAYS} days later, not {until:%Y-%m-%d}.")
    statement = make_statement(Kind.WAIVE, criterion_id, by, reason=reason, until=end.astimezone(UTC))
    record = Records(folder).add(statement, [read_file(path) for path in evidence or ()])
    _print(record, f"Waived {criterion_id} until the end of {until:%Y-%m-%d}", as_json)


def not_applicable(
    criterion_id: CriterionId,
    reason: Reason,
    by: By,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """State that a criterion does not apply to this installation."""
    find_criterion(criterion_id)
    record = Records(folder).add(make_statement(Kind.NOT_APPLICABLE, criterion_id, by, reason=reason))
    _print(record, f"{criterion_id} does not apply", as_json)


def _print(record: Record, words: str, as_json: bool) -> None:
    if as_json:
        print_json(asdict(record) | {"sha256": record.sha256()})
        return
    kept = "".join(
        f"\n  evidence {each.name}: {each.bytes} bytes, sha256 {each.sha256[:12]}" for each in record.evidence
    )
    print_line(f"{words}. Record {record.number}, {record.sha256()[:12]}{kept}")
