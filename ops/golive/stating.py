"""`leads golive begin`, `attest`, `waive`, `not-applicable`: what people state, as signed records."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from leads.domain.body import ICT
from ops.failures import CommandFailed, WrongUsage
from ops.golive.criterion import WAVES, Criterion, Part, Source, criteria_of, find_criterion, load_criteria
from ops.golive.evaluation import (
    ENTRY,
    GATE,
    NEEDED,
    Evaluation,
    Wave,
    evaluate,
    gate_at,
    gate_before,
    open_sources,
    time_text,
)
from ops.golive.gates import (
    DAY,
    DEFAULT_RECORDS,
    TIMES,
    By,
    RecordsFolder,
    moment,
    print_evaluation,
    print_judgement,
)
from ops.golive.judgement import MAX_WAIVER_DAYS, Judgement, read_evidence_file
from ops.golive.measuring import INSTALLATION_FILE, SCANS_FILE, SHOWN, Sources, scans_file
from ops.golive.records import (
    FILE,
    MAX_BACKDATED,
    Handed,
    Kind,
    Record,
    Records,
    make_statement,
    namespace,
    newest,
    read_file,
    stated,
)
from ops.golive.report import PAGE, write_report
from ops.output import AsJson, print_json, print_line, say, show_activity
from ops.settings import read_operator_settings

CriterionId = Annotated[str, typer.Argument(metavar="ID", help="The id of a criterion: leads golive list")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for those who read it later.")]
Until = Annotated[datetime, typer.Option(formats=DAY, help="The last day, in Vietnam; at most 180 days.")]
Files = Annotated[
    list[Path] | None,
    typer.Option("--evidence", metavar="FILE", help="What proves it, with FILE.sig of CI; may be repeated."),
]


def begin(
    wave: Annotated[Wave, typer.Argument(help="The wave that begins.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the report of the gate before there.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, help="When it began, in UTC, at most 7 days ago; without it now."),
    ] = None,
    again: Annotated[
        str, typer.Option("--again", metavar="REASON", help="Begin it anew; the reason stands in red.")
    ] = "",
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Record that a wave begins: its figures count from then on.

    Evaluates the gate of the wave before, of W1 the gate `entry`, and refuses
    (exit code 1) while it is closed; with --to it writes the report of that gate too.
    Keeps the result of the gate, of which installation it is, and how often large
    tables were read whole and indexes were read, as evidence. Names what people have
    to state until the gate of the new wave. Signed by the release manager. Needs
    DATABASE_URL, GOLIVE_KEY and GOLIVE_SIGNERS. A wave that cannot pass any more, for
    example after too many sources, begins anew with --again, as long as the next one
    has not begun.
    """
    if to and (since or again):
        raise WrongUsage("--to goes without --since and --again. A report: leads golive report WAVE --to DIR")
    with open_sources(folder) as sources:
        if not sources.settings.database_url:
            read_operator_settings(*NEEDED)  # names all; with a database the gate before names the others
        at = datetime.now(UTC)
        start, first = _start(wave, moment(since) if since else at, again, sources)
        evidence = [Handed(SCANS_FILE, scans_file(sources.session, datetime.now(UTC)))]
        evidence.append(Handed(INSTALLATION_FILE, json.dumps(dict(sources.installation)).encode()))
        report, signer = None, ""
        if first:
            # The gate before is as it was when the wave first began.
            kept = [each for each in first.evidence if each.name.startswith(GATE)]
            evidence += [Handed(each.name, sources.files.read_evidence(each)) for each in kept]
        else:
            before = _open_gate_before(wave, at, start, sources)
            if to:
                report, signer = write_report(to, before, sources)
            document = json.dumps(before.document(), ensure_ascii=False, indent=1)
            evidence.append(Handed(f"{GATE}{before.subject}.json", document.encode()))
        statement = make_statement(Kind.BEGIN, wave, since=start, reason=again)
        (record,) = sources.files.add(statement, files=evidence)
        left = [each for each in _of_people(Part(wave), sources).judgements if each.is_blocking]
    if as_json:
        print_json({
            "wave": wave, "since": start, "signer": record.signer, "sha256": record.digest, "report": report,
            "to_attest": {each.criterion.id: each.criterion.owner for each in left},
        })  # fmt: skip
        return
    digest = record.digest[:SHOWN]
    print_line(f"{wave} began at {time_text(start)}. Record {digest}, signed by {record.signer}")
    if report:
        print_line(f"Report: {report / PAGE}, signed by {signer}")
    _print_owners(left, wave)


def _open_gate_before(wave: str, at: datetime, start: datetime, sources: Sources) -> Evaluation:
    """Evaluate the gate before a wave, which ends at `start`. Ends the command if it is closed."""
    earlier = gate_before(wave)
    with show_activity(f"evaluating the gate before {wave}"):
        before = gate_at(earlier, sources, at, start)
    if not before.is_open:
        print_evaluation(before, Console(stderr=True))
        say(f"{wave} cannot begin: the gate of {earlier} is closed.")
        raise typer.Exit(before.exit_code)
    return before


def _start(
    wave: str, start: datetime, again: str, sources: Sources
) -> tuple[datetime, Record | None]:  # fmt: skip
    """Check when a wave begins; return that, and how it first began. Raises WrongUsage or CommandFailed."""
    now, records = datetime.now(UTC), sources.records
    if start < now - MAX_BACKDATED:
        raise WrongUsage(f"--since is at most {MAX_BACKDATED.days} days ago.")
    found = newest(records, Kind.BEGIN, wave, now)
    if found and not again:
        text = f"{wave} began at {time_text(found.holds_at)} already (record {found.digest[:SHOWN]})."
        raise CommandFailed(text)
    if again and not found:
        raise WrongUsage(f"{wave} has not begun: leave out --again.")
    later = (each for each in WAVES[WAVES.index(wave) + 1 :] if stated(records, Kind.BEGIN, each, now))
    if again and (begun_later := next(later, "")):
        raise CommandFailed(f"{begun_later} has begun: {wave} cannot begin anew.")
    earlier = gate_before(wave)
    begun = found or newest(records, Kind.BEGIN, earlier, now)
    if begun is None and earlier != ENTRY:
        raise CommandFailed(f"{earlier} has not begun: leads golive begin {earlier}")
    if begun and start <= begun.holds_at:
        raise WrongUsage(f"--since is after {time_text(begun.holds_at)}, when {begun.of} began.")
    return start, stated(records, Kind.BEGIN, wave, now)[0] if found else None


def attest(
    criterion_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID[=VALUE]]...", help="Ids of criteria, each with what was found."),
    ] = None,
    evidence: Files = None,
    is_open: Annotated[
        Part | None, typer.Option("--open", help="List what is still to be attested of this part.")
    ] = None,
    by: By = "",
    value: Annotated[
        float | None, typer.Option(help="What was found, for all ids without a value; a file says its own.")
    ] = None,
    cases: Annotated[int | None, typer.Option(help="How many were asked, of a survey.", min=1)] = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Record what only a person can answer, or a file that proves criteria.

    Several ids take the same evidence: one JUnit file for all its test cases, one
    paper for all that a person found (ID=VALUE). Each record is signed with
    GOLIVE_KEY in the role of the criterion's owner, which GOLIVE_SIGNERS has to
    grant. For a director or a lawyer without a key the owner signs, with their name
    in --by. A later record of a criterion replaces this one.
    """
    if is_open is not None:
        _print_open(is_open, folder, as_json=as_json)
        return
    if not criterion_ids or not evidence:
        raise WrongUsage("Give ids and --evidence FILE. What is open lists: leads golive attest --open W1")
    given: dict[str, float | None] = {}
    for text in criterion_ids:
        name, sign, own = text.partition("=")
        if name in given:
            raise WrongUsage(f"{name} is given more than once: give each id one value.")
        try:
            given[name] = float(own) if sign else value
        except ValueError as error:
            raise WrongUsage(f"The value of {name} is a number, not {own!r}.") from error
    criteria = [find_criterion(each) for each in given]
    files = [read_file(path) for path in evidence]
    found = [_attested_value(each, given[each.id], cases, files) for each in criteria]
    statements, said = [], []
    for each, number in zip(criteria, found, strict=True):
        statements.append(make_statement(Kind.ATTEST, each.id, by, value=number, cases=cases))
        place = " on staging" if each.is_stated_of_staging else ""
        said.append(f"Attested {each.id}" + ("" if number is None else f" = {each.shown(number)}{place}"))
    _print(Records(folder).add(*statements, files=files), said, as_json)


def _attested_value(
    criterion: Criterion, value: float | None, cases: int | None, files: Sequence[Handed]
) -> float | None:
    """Check what is attested; return the value, that of the file if it says it. Raises WrongUsage."""
    if criterion.source is Source.FILE:
        if value is not None or cases is not None or len(files) != 1:
            raise WrongUsage(f"{criterion.id} is decided by one file: give it --evidence, and no --value.")
        return read_evidence_file(criterion, files[0].content).value
    if criterion.source is not Source.PERSON:
        raise WrongUsage(f"{criterion.id} is measured ({criterion.source}) and cannot be attested.")
    if value is None or not isfinite(value):
        raise WrongUsage(f"Give the value of {criterion.id}: {criterion.id}=VALUE.")
    if criterion.range and not criterion.range[0] <= value <= criterion.range[1]:
        low, high = criterion.range
        raise WrongUsage(f"The value of {criterion.id} is from {low:g} to {high:g}, not {value:g}.")
    if criterion.min_samples and cases is None:
        raise WrongUsage(f"Say how many were asked for {criterion.id} with --cases.")
    return value


def _of_people(part: Part, sources: Sources) -> Evaluation:
    parts = (Part.DEPLOY, part) if part is Part.DAY0 else (part,)  # as `leads golive day0`
    criteria = [each for each in criteria_of(*parts) if each.source.is_of_people]
    return evaluate(part.value, criteria, sources, datetime.now(UTC))


def _print_owners(left: Sequence[Judgement], part: str) -> None:
    ids: dict[str, list[str]] = {}
    for each in left:
        ids.setdefault(each.criterion.owner, []).append(each.criterion.id)
    for owner, names in ids.items():
        print_line(f"Before the gate of {part}, {owner} states: {', '.join(names)}")
    if left:
        print_line(f"How: leads golive attest --open {part}")


def _print_open(part: Part, folder: Path, *, as_json: bool) -> None:
    with open_sources(folder) as sources:
        evaluation = _of_people(part, sources)
    left = [each for each in evaluation.judgements if each.is_blocking]
    if as_json:
        wanted = {each.criterion.id for each in left}
        print_json([each for each in evaluation.document()["criteria"] if each["id"] in wanted])
        return
    console = Console()
    for each in left:
        print_judgement(each, console)
    console.print(f"{len(left)} of {len(evaluation.judgements)} are open.", soft_wrap=True)


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
    if by and not evidence:
        raise WrongUsage(f"Give what {by} signed with --evidence FILE: another person signs this record.")
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
        print_line(f"{words}. Record {record.digest[:SHOWN]}, signed as {role} by {record.signer}")
    for each in records[0].evidence:
        print_line(f"  evidence {each.name}: {each.bytes} bytes, sha256 {each.sha256[:SHOWN]}")
