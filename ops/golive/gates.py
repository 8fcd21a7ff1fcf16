"""`leads golive gate`, `list`, `precheck`, `day0`, `watch`, `baseline`: evaluate, and show what was found."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer
from rich.console import Console

from leads.domain.body import ICT
from ops.checks.model import Level
from ops.checks.screen import print_advice
from ops.checks.services import HasuraSource
from ops.clients.db_session import QUERIES, open_session
from ops.failures import CommandFailed, WrongUsage
from ops.files import write_file
from ops.golive.criterion import WAVES, Part, Source, Stage, criteria_of, load_criteria
from ops.golive.deploy.site import PLAN, PlanOption, read_plan_file
from ops.golive.evaluation import (
    ENTRY,
    Evaluation,
    Subject,
    cure_of,
    evaluate,
    gate_at,
    open_sources,
    time_text,
)
from ops.golive.judgement import MAX_ROWS, Judgement, Outcome, p95_minutes
from ops.golive.measuring import SHOWN
from ops.golive.records import Kind, Records, newest
from ops.output import AsJson, csv_text, print_in_column, print_json, say, show_activity
from ops.settings import read_operator_settings

COLUMN = 9
INDENTATION = " " * COLUMN
RecordsFolder = Annotated[
    Path, typer.Option("--records", metavar="DIR", help="The folder of the records and of their evidence.")
]
By = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who states it, if that is another one than who signs.")
]
DEFAULT_RECORDS = Path("golive")
DAY = ["%Y-%m-%d"]
TIMES = ["%Y-%m-%dT%H:%M", *DAY]
At = Annotated[
    datetime | None, typer.Option("--at", formats=TIMES, help="A time in UTC; without it the present.")
]
DAYS = 7
Area = StrEnum("Area", ["ENGINE", "DATABASE", "EDGE", "METADATA", "PEOPLE"])
"""A part of the pre-check."""


class Word(NamedTuple):
    """An outcome on the terminal, and in the report as a sign and in two languages."""

    terminal: str
    sign: str
    vi: str
    en: str


WORDS = {
    Outcome.FAIL: Word(Level.RED.word, "✗", "Không đạt", "Fail"),
    Outcome.INCONCLUSIVE: Word(Level.UNKNOWN.word, "?", "Chưa kết luận", "Inconclusive"),
    Outcome.WAIVED: Word("waived", "!", "Được miễn", "Waived"),
    Outcome.NOT_APPLICABLE: Word("n/a", "–", "Không áp dụng", "Not applicable"),
    Outcome.PASS: Word(Level.GREEN.word, "✓", "Đạt", "Pass"),
}
"""In the order in which outcomes are shown."""


def show(evaluation: Evaluation, *, as_json: bool) -> None:
    if as_json:
        print_json(evaluation.document())
    else:
        print_evaluation(evaluation, Console())


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print what keeps the gate closed first, with what to do, then the rest in a line each."""
    is_gate = evaluation.subject in (ENTRY, *WAVES)
    fine, bad = ("open", "CLOSED") if is_gate else ("passed", "NOT PASSED")
    title = f"Gate {evaluation.subject}" if is_gate else evaluation.subject.capitalize()
    state = fine if evaluation.is_open else bad
    origin = f" of the {evaluation.commit_of}" if evaluation.commit_of else ""
    commit = (evaluation.commit[:SHOWN] or "unknown") + origin
    console.print(f"{title}: {state}, {time_text(evaluation.at)}, commit {commit}")
    if evaluation.period:
        console.print(evaluation.period.text)
    found = Counter(judgement.outcome for judgement in evaluation.judgements)
    console.print("Criteria: " + ", ".join(f"{found[each]} {word.terminal}" for each, word in WORDS.items()))
    for each in evaluation.notices:
        text = f"{each.gate}: {each.en}" if each.gate else each.en
        print_in_column("notice".ljust(COLUMN), text, console)
    if before := evaluation.before:
        name = "entry" if before.wave == ENTRY else f"wave {before.wave}"
        text = f"The gate of {name}. {before.reason}"
        print_in_column(WORDS[before.outcome].terminal.ljust(COLUMN), text, console)
    explained = _print_causes(evaluation, console)
    for outcome in WORDS:
        for judgement in evaluation.judgements:
            if judgement.outcome is outcome and judgement.criterion.id not in explained:
                print_judgement(judgement, console)


def _print_causes(evaluation: Evaluation, console: Console) -> set[str]:
    """Print each cause that no criterion names, with the criteria that it explains; return those."""
    explained: set[str] = set()
    for cause in evaluation.causes:
        names = []
        for each in evaluation.judgements:
            bad = (found for found in each.measurement.findings if found.level is not Level.GREEN)
            causes = {found.because_of for found in bad}
            if each.outcome is Outcome.INCONCLUSIVE and causes == {cause.check.id}:
                names.append(each.criterion.id)
        for found in cause.findings if names else ():
            text = f"{cause.check.id}: {found.text}"
            print_in_column(found.level.word.ljust(COLUMN), text, console)
            print_advice(found.cure, cause.check.runbook, COLUMN, console)
        if names:
            print_in_column(INDENTATION, f"so unknown: {', '.join(names)}", console)
        explained.update(names)
    return explained


def print_judgement(judgement: Judgement, console: Console) -> None:
    """Print a criterion: what was found, and what to do if it keeps a gate closed."""
    criterion = judgement.criterion
    head = f"{criterion.id}: {criterion.title_en}"
    print_in_column(WORDS[judgement.outcome].terminal.ljust(COLUMN), head, console)
    for text in filter(None, (finding(judgement), note(judgement))):
        print_in_column(INDENTATION, text, console)
    if judgement.is_blocking:
        cure = cure_of(judgement)
        print_advice(f"{criterion.owner}: {cure}" if cure else "", criterion.runbook, COLUMN, console)


def finding(judgement: Judgement) -> str:
    """Return what was measured and the target, in a line; of checks what they found."""
    criterion, measured = judgement.criterion, judgement.measurement
    target = f"target {criterion.shown_target}"
    if criterion.source is Source.CHECK:
        return judgement.reason or measured.details
    if judgement.why is not None:
        return f"{judgement.why}: {judgement.reason} ({target})"
    text = criterion.shown(measured.value)
    if measured.total is not None:
        text += f" of {measured.total}" if judgement.interval else f" (n = {measured.total})"
    if judgement.interval is not None:
        low, high = judgement.interval
        text += f" (95 %: {low:.1%} to {high:.1%})"
    return f"{text}, {target}" + (f"; {measured.details}" if measured.details else "")


def note(judgement: Judgement) -> str:
    """Return what a reader has to know beside the figure; empty if there is nothing."""
    if exemption := judgement.exemption:
        until = time_text(exemption.statement.until) if exemption.statement.until else ""
        return f"by {exemption.stated_by} until {until}: {exemption.statement.reason}"
    if judgement.is_shown is False:
        return f"Met, but not yet shown: {judgement.needed} cases are needed, if no further one is bad."
    return ""


def gate(
    subject: Annotated[Subject, typer.Argument(help="entry, a wave, or the sign-off.")],
    at: At = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Evaluate the exit gate of a wave (may the next wave begin?), or the sign-off.

    `entry` says whether W1 may begin: E1 to E3 of the checklist. A gate is open if
    every criterion is pass, waived or not applicable, and the gate before was open
    when this wave began; the sign-off needs that of W4. What cannot be measured is
    inconclusive, never a pass. Exit codes: 0 open, 1 closed, 3 closed only because
    a service does not answer.

    Reads DATABASE_URL, PROMETHEUS_URL, HASURA_URL, HASURA_ADMIN_SECRET, PUBLIC_URL,
    GOLIVE_SIGNERS, and COMMIT of the image; what is not set is named first. --at
    judges a time in the past by what the database, Prometheus and the records say
    of it.
    """
    with open_sources(folder) as sources, show_activity(f"evaluating gate {subject}"):
        evaluation = gate_at(subject, sources, moment(at))
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
        Literal["entry", "W1", "W2", "W3", "W4"] | None,
        typer.Option("--gate", help="Only what this gate needs."),
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
                "target": each.shown_target, "min_samples": each.min_samples, "owner": each.owner,
                "remediation": each.cure(datetime.now(UTC)), "runbook": each.runbook,
            }
            for each in criteria
        ])  # fmt: skip
        return
    console = Console()
    for each in criteria:
        print_in_column(f"{each.id:<25} ", f"{each.title_en} ({each.shown_rule})", console)
        places = f"{' '.join(each.parts)}; {each.source}; {', '.join(each.lines)}"
        print_in_column(" " * 26, places, console)


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
    evaluation = evaluate_parts("pre-check", chosen, folder, file, source, stage)
    show(evaluation, as_json=as_json)
    raise typer.Exit(evaluation.exit_code)


def evaluate_parts(
    subject: str, parts: Sequence[Part], folder: Path, file: Path, source: str, stage: Stage | None = None,
    day: int | None = None,
) -> Evaluation:  # fmt: skip
    """Measure and judge every criterion of these parts now. Raises RecordsError and WrongUsage.

    With a stage those are left out that can pass in the other one only, with a day of W1 those that are asked
    later.
    """
    plan = read_plan_file(file)
    with open_sources(folder, plan, source) as sources, show_activity(f"evaluating {subject}"):
        criteria = [
            each for each in criteria_of(*parts)
            if (not stage or each.stage in (None, stage)) and (day is None or (each.from_day or 0) <= day)
        ]  # fmt: skip
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

    Query plans, dead letters, missing leads, health of the connections; from
    day 4 on talks with telesales, on day 7 the review. The result of the day is
    kept, and the days without a result are named. Reads what precheck reads.
    Exit codes as of precheck.
    """
    now = datetime.now(UTC)
    begun = newest(Records(folder).read(), Kind.BEGIN, "W1", now)
    first = _day(now if begun is None else begun.holds_at)
    day = None if begun is None else (_day(now) - first).days
    subject = "watch" if day is None else f"day {day}"
    evaluation = evaluate_parts(subject, [Part.WATCH], folder, file, source, day=day)
    _show_and_keep(evaluation, folder, Part.WATCH, as_json=as_json)
    if begun is not None:
        _tell_days(folder, [first + timedelta(days=number) for number in range(1, DAYS + 1)], _day(now))
    raise typer.Exit(evaluation.exit_code)


def _show_and_keep(evaluation: Evaluation, folder: Path, part: Part, *, as_json: bool) -> None:
    """Keep an evaluation under the day in Vietnam, and show it; a later one of the day replaces it."""
    # First, because `| head` ends the output.
    path = keep_document(evaluation.document(), folder, f"{part.value}-{_day(evaluation.at)}")
    show(evaluation, as_json=as_json)
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
        return
    typer.echo(csv_text([("created_at", "first_response_at"), *times]), nl=False)
