"""`leads golive attest`, `waive` and `not-applicable`: what people state, as signed records."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from leads.domain.body import ICT
from ops.failures import WrongUsage
from ops.golive.criterion import Criterion, Part, Source, criteria_of, find_criterion, load_criteria
from ops.golive.evidence import read_evidence_file
from ops.golive.gates import DEFAULT_RECORDS, By, RecordsFolder, evaluate, open_sources, print_judgement
from ops.golive.records import FILE, Kind, Record, Records, make_statement, namespace, read_file
from ops.output import AsJson, print_json, print_line

MAX_WAIVER_DAYS = 180
CriterionId = Annotated[str, typer.Argument(metavar="ID", help="The id of a criterion: leads golive list")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who read it later.")]
Until = Annotated[
    datetime, typer.Option(formats=["%Y-%m-%d"], help="The last day, in Vietnam; at most 180 days.")
]
Files = Annotated[
    list[Path] | None,
    typer.Option("--evidence", metavar="FILE", help="What proves it, with FILE.sig of CI; may be repeated."),
]


def attest(
    criterion_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of criteria: leads golive list")
    ] = None,
    evidence: Files = None,
    is_open: Annotated[
        Part | None, typer.Option("--open", help="List what is still to be attested of this part.")
    ] = None,
    by: By = "",
    value: Annotated[
        float | None, typer.Option(help="What was found; for a criterion of source file the file says it.")
    ] = None,
    cases: Annotated[int | None, typer.Option(help="How many were asked, of a survey.", min=1)] = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Record what only a person can answer, or a file that proves criteria.

    Several ids take the same evidence: one JUnit file for all its test cases. Each
    record is signed with GOLIVE_KEY in the role of the criterion's owner, which
    GOLIVE_SIGNERS has to grant. For a director or a lawyer without a key the owner
    signs, with their name in --by. A later record of a criterion replaces this one.
    """
    if is_open is not None:
        _print_open(is_open, folder, as_json=as_json)
        return
    if not criterion_ids or not evidence:
        raise WrongUsage("Give ids and --evidence FILE. What is open lists: leads golive attest --open W1")
    criteria = [find_criterion(each) for each in dict.fromkeys(criterion_ids)]
    files = [read_file(path) for path in evidence]
    contents = [each.content for each in files]
    stated = [_attested_value(each, value, cases, contents) for each in criteria]
    statements = [
        make_statement(Kind.ATTEST, each.id, by, value=found, cases=cases)
        for each, found in zip(criteria, stated, strict=True)
    ]
    shown = [
        f"Attested {each.id}" + (f" = {each.shown(found)}" if found is not None else "")
        for each, found in zip(criteria, stated, strict=True)
    ]
    _print(Records(folder).add(*statements, files=files), shown, as_json)


def _print_open(part: Part, folder: Path, *, as_json: bool) -> None:
    of_people = [each for each in criteria_of(part) if each.source in (Source.PERSON, Source.FILE)]
    with open_sources(folder) as sources:
        evaluation = evaluate(part.value, of_people, sources, datetime.now(UTC))
    left = [each for each in evaluation.judgements if each.is_blocking]
    if as_json:
        wanted = {each.criterion.id for each in left}
        print_json([each for each in evaluation.document()["criteria"] if each["id"] in wanted])
        return
    console = Console()
    for each in left:
        print_judgement(each, console)
    console.print(f"{len(left)} of {len(of_people)} are open.", soft_wrap=True)


def _attested_value(
    criterion: Criterion, value: float | None, cases: int | None, evidence: Sequence[bytes]
) -> float | None:
    """Check what is attested; return the value, that of the file if it says it. Raises WrongUsage."""
    if criterion.source is Source.FILE:
        if value is not None or cases is not None or len(evidence) != 1:
            raise WrongUsage(f"{criterion.id} is decided by one file: give it --evidence, and no --value.")
        return read_evidence_file(criterion, evidence[0]).value
    if criterion.source is not Source.PERSON:
        raise WrongUsage(f"{criterion.id} is measured ({criterion.source}) and cannot be attested.")
    if value is None or not isfinite(value):
        raise WrongUsage(f"Give the value of {criterion.id} with --value.")
    if criterion.range and not criterion.range[0] <= value <= criterion.range[1]:
        low, high = criterion.range
        raise WrongUsage(f"The value of {criterion.id} is from {low:g} to {high:g}, not {value:g}.")
    if criterion.min_samples and cases is None:
        raise WrongUsage(f"Say how many were asked for {criterion.id} with --cases.")
    return value


def waive(
    criterion_id: CriterionId, reason: Reason, until: Until, by: By = "", evidence: Files = None,
    folder: RecordsFolder = DEFAULT_RECORDS, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Accept until a day that a criterion is not met, or not known.

    Only its owner may, and only where the checklist allows it; of any other only
    that it has fewer cases than its least sample, which meet the target. A waiver
    never hides a pass, and stands in red in gate and report. A later one may move
    the day.
    """
    _exempt(Kind.WAIVE, criterion_id, reason, until, by, evidence, folder, as_json)


def not_applicable(
    criterion_id: CriterionId, reason: Reason, until: Until, by: By = "", evidence: Files = None,
    folder: RecordsFolder = DEFAULT_RECORDS, as_json: AsJson = False,
) -> None:  # fmt: skip
    """State until a day that a criterion does not apply here; as for waive."""
    _exempt(Kind.NOT_APPLICABLE, criterion_id, reason, until, by, evidence, folder, as_json)


def _exempt(
    kind: Kind, criterion_id: str, reason: str, until: datetime, by: str, evidence: list[Path] | None,
    folder: Path, as_json: bool,
) -> None:  # fmt: skip
    criterion = find_criterion(criterion_id)
    if not (criterion.may_be_waived or (criterion.may_have_fewer and kind is Kind.WAIVE)):
        allowed = ", ".join(each.id for each in load_criteria() if each.may_be_waived)
        raise WrongUsage(f"{criterion_id} has to be met. The checklist lets only these be waived: {allowed}.")
    end = (until + timedelta(days=1)).replace(tzinfo=ICT)
    now = datetime.now(UTC)
    if not now < end <= now + timedelta(days=MAX_WAIVER_DAYS + 1):
        raise WrongUsage(f"--until is from today to {MAX_WAIVER_DAYS} days later, not {until:%Y-%m-%d}.")
    statement = make_statement(kind, criterion_id, by, reason=reason, until=end.astimezone(UTC))
    records = Records(folder).add(statement, files=[read_file(path) for path in evidence or ()])
    said = f"Waived {criterion_id}" if kind is Kind.WAIVE else f"{criterion_id} does not apply"
    _print(records, [f"{said} until the end of {until:%Y-%m-%d}"], as_json)


def _print(records: Sequence[Record], said: Sequence[str], as_json: bool) -> None:
    if as_json:
        print_json([FILE.dump_python(each, mode="json") for each in records])
        return
    for record, words in zip(records, said, strict=True):
        role = namespace(record.statement.role)
        print_line(f"{words}. Record {record.digest[:12]}, signed as {role} by {record.signer}")
    for each in records[0].evidence:
        print_line(f"  evidence {each.name}: {each.bytes} bytes, sha256 {each.sha256[:12]}")
