"""`leads golive gate`, `list` and `begin`: evaluate parts of the checklist, and show what was found."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer
from rich.console import Console

from ops.checks.model import Asked, Level, Result
from ops.checks.screen import FORMAT, finding_documents, print_advice, shown
from ops.checks.services import Services
from ops.checks.table import BY_ID, look_at
from ops.failures import CommandFailed, ExitCode, WrongUsage
from ops.golive.commit import installed_commit
from ops.golive.criterion import (
    WAVES,
    Criterion,
    Part,
    Source,
    criteria_of,
    entry_criteria,
    load_criteria,
    rule_of,
)
from ops.golive.deploy.plan_file import PLAN, PlanFile, read_plan_file
from ops.golive.installation import INSTALLATION_FILE
from ops.golive.judgement import EXEMPTIONS, Judgement, Notice, Outcome, Why, judge
from ops.golive.measuring import PRESENT, SCANS_FILE, SourceDown, Sources, ending, measure, scans_file
from ops.golive.notices import GATE, earlier_notices, notices_of, notices_of_criteria, unset_notices
from ops.golive.records import Handed, Kind, Record, Records, heads_of, make_statement, newest
from ops.output import AsJson, print_in_column, print_json, print_line, say, show_activity
from ops.settings import read_operator_settings

VARIABLES = (
    "DATABASE_URL", "PROMETHEUS_URL", "HASURA_URL", "HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET",
    "PUBLIC_URL", "HANDLERS_URL", "EDGE_STATUS_URL",
)  # fmt: skip
NEEDED = ("DATABASE_URL", "PROMETHEUS_URL", "HASURA_URL", "PUBLIC_URL")
"""Those of them without which a gate cannot be open, or not say of which installation it is."""
EVALUATION_SECONDS = 35.0
COLUMN = 9


Wave = Literal["W1", "W2", "W3", "W4"]
ENTRY = Part.ENTRY.value
Subject = Literal["entry", "W1", "W2", "W3", "W4", "sign-off"]
"""What is judged: whether W1 may begin, the gate of a wave, or the sign-off at the end of the pilot."""
RecordsFolder = Annotated[
    Path, typer.Option("--records", metavar="DIR", help="The folder of the records and of their evidence.")
]
By = Annotated[
    str, typer.Option("--by", metavar="NAME", help="Who states it, if that is another one than who signs.")
]
DEFAULT_RECORDS = Path("golive")
TIMES = ["%Y-%m-%dT%H:%M", "%Y-%m-%d"]
At = Annotated[
    datetime | None, typer.Option("--at", formats=TIMES, help="A time in UTC; without it the present.")
]
MAX_BACKDATED = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Before:
    """The gate of the wave before: whether it was open when the wave began, and what is known of that."""

    wave: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Period:
    """From when to when a wave is judged, and who stated at `stated_at` that it began."""

    wave: str
    since: datetime
    until: datetime
    by: str
    stated_at: datetime

    @property
    def text(self) -> str:
        """Return it in a line, with how much later the beginning was stated."""
        days = (self.until - self.since) / timedelta(days=1)
        late = (self.stated_at - self.since) / timedelta(hours=1)
        later = f" {late:.0f} h later" if late >= 1 else ""
        times = f"{time_text(self.since)} to {time_text(self.until)}"
        return f"{self.wave} from {times}, {days:.1f} days; stated{later} by {self.by}"


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was looked at (a wave or a part of the checklist), when, and the judgement of each criterion."""

    subject: str
    at: datetime
    commit: str
    judgements: tuple[Judgement, ...]
    before: Before | None = None
    period: Period | None = None
    causes: tuple[Result, ...] = ()
    """The checks that no criterion names, and that explain what is red or not known of those."""
    notices: tuple[Notice, ...] = ()
    installation: Mapping[str, str] = field(default_factory=dict)
    signers: str = ""
    """The SHA-256 of the file of the allowed signers."""
    heads: tuple[str, ...] = ()
    """The newest records: they name all others."""

    @property
    def is_open(self) -> bool:
        """Whether all of it, and the gate before it, is pass, waived or not applicable."""
        return self._is_before_open and not any(each.is_blocking for each in self.judgements)

    @property
    def exit_code(self) -> ExitCode:
        """0 if it is open, 3 if only services that do not answer keep it closed, else 1."""
        if self.is_open:
            return ExitCode.OK
        blocking = [each.why for each in self.judgements if each.is_blocking]
        is_unreachable = self._is_before_open and set(blocking) == {Why.SOURCE_DOWN}
        return ExitCode.UNREACHABLE if is_unreachable else ExitCode.FAILED

    @property
    def _is_before_open(self) -> bool:
        return self.before is None or self.before.outcome is Outcome.PASS

    def count(self, outcome: Outcome) -> int:
        """Return how many criteria have this outcome."""
        return sum(each.outcome is outcome for each in self.judgements)

    def document(self) -> dict[str, Any]:
        """Return the evaluation as JSON values; times are ISO 8601 in UTC, shares from 0 to 1."""
        before, period = self.before, self.period
        return {
            "format": FORMAT,
            "subject": self.subject,
            "at": _utc(self.at),
            "commit": self.commit,
            "installation": self.installation,
            "signers": self.signers,
            "heads": self.heads,
            "is_open": self.is_open,
            "notices": [notice._asdict() for notice in self.notices],
            "counts": {outcome.value: self.count(outcome) for outcome in Outcome},
            "period": period
            and {
                "wave": period.wave,
                "since": _utc(period.since),
                "until": _utc(period.until),
                "by": period.by,
                "stated_at": _utc(period.stated_at),
            },
            "before": before and {"gate": before.wave, "outcome": before.outcome, "reason": before.reason},
            "causes": finding_documents(self.causes),
            "criteria": [_criterion_document(each) for each in self.judgements],
        }


def _criterion_document(judgement: Judgement) -> dict[str, Any]:
    criterion, measured = judgement.criterion, judgement.measurement
    exemption = judgement.exemption
    return {
        "id": criterion.id, "lines": criterion.lines, "source": criterion.source,
        "title": {"vi": criterion.title_vi, "en": criterion.title_en},
        "outcome": judgement.outcome, "why": judgement.why, "reason": judgement.reason,
        "value": measured.value, "operator": criterion.operator, "target": criterion.target,
        "unit": criterion.unit, "cases": measured.total, "bad": measured.bad, "rule": rule_of(criterion),
        "interval": judgement.interval, "is_shown": judgement.is_shown, "needed": judgement.needed,
        "since": _utc(measured.since), "until": _utc(measured.until),
        "measured_at": _utc(measured.measured_at), "measured_commit": measured.commit,
        "details": measured.details, "findings": finding_documents(measured.results),
        "exemption": exemption and {
            "reason": exemption.statement.reason, "by": exemption.stated_by,
            "until": _utc(exemption.statement.until),
        },
        "owner": criterion.owner, "remediation": cure_of(judgement), "runbook": criterion.runbook,
    }  # fmt: skip


def _utc(time: datetime | None) -> str | None:
    return time.astimezone(UTC).isoformat() if time else None


def open_sources(folder: Path, plan: PlanFile | None = None, source: str = "default") -> Sources:
    """Make the sources of an evaluation, which are opened when they are asked. Raises SettingsError."""
    settings = read_operator_settings(may_have=VARIABLES)
    return Sources(settings, folder, source, plan=plan or read_plan_file(PLAN))


def evaluate(
    subject: str, criteria: Sequence[Criterion], sources: Sources, at: datetime, wave: str | None = None,
    before: Before | None = None, until: datetime | None = None,
) -> Evaluation:  # fmt: skip
    """Measure and judge each of the criteria at `at`; `wave` is that of the window `wave`, until `until`."""
    commit = installed_commit()
    results = _look(criteria, sources) if datetime.now(UTC) - at <= PRESENT else []
    looked = {each.id: [result for result in results if result.name == each.id] for each in criteria}
    judgements = []
    for criterion in criteria:
        measured = measure(criterion, sources, at, wave, looked, until)
        exemption = exemption_of(criterion, sources.records, at)
        judgements.append(judge(criterion, measured, at, commit, exemption))
    causes = tuple(each for each in shown(results) if not each.is_wanted)
    period = _period(subject, wave, sources.records, at, until or at)
    return Evaluation(subject, at, commit, tuple(judgements), before, period, causes)


def _period(
    subject: str, wave: str | None, records: tuple[Record, ...], at: datetime, until: datetime
) -> Period | None:
    """Return the window of a wave, or of the pilot for the sign-off; None if it has not begun."""
    first = wave if subject in WAVES else WAVES[0]
    record = newest(records, Kind.BEGIN, first, at) if wave and first else None
    if record is None:
        return None
    name = subject if subject in WAVES else "pilot"
    return Period(name, record.holds_at, until, record.stated_by, record.statement.at)


def _look(criteria: Sequence[Criterion], services: Services) -> list[Result]:
    """Ask the checks of these criteria, all at once."""
    asked = [
        Asked(BY_ID[name], each.parameters, each.id)
        for each in criteria
        if each.source is Source.CHECK
        for name in each.query.split()
    ]
    return look_at(asked, services, seconds=EVALUATION_SECONDS)[0] if asked else []


def exemption_of(criterion: Criterion, records: tuple[Record, ...], at: datetime) -> Record | None:
    """Return the newest waiver of a criterion or of its least sample, or that it does not apply."""
    kinds = EXEMPTIONS if criterion.may_be_waived else (Kind.WAIVE,) if criterion.may_have_fewer else ()
    found = [record for kind in kinds if (record := newest(records, kind, criterion.id, at))]
    return max(found, key=records.index) if found else None


def gate_at(subject: str, sources: Sources, at: datetime, until: datetime | None = None) -> Evaluation:
    """Evaluate a gate, or the sign-off, at a time. Raises RecordsError.

    The wave ends at `until`: without it when the next one began, or at `at`.
    """
    found = _gate_at(subject, sources, at, until)
    records = tuple(each for each in sources.records if each.statement.at <= at)
    signers = sources.files.signers_digest()
    unset = [name for name in NEEDED if not getattr(sources.settings, name.lower())]
    unset += [] if found.commit else ["COMMIT"]
    unset += [] if signers else [f"GOLIVE_SIGNERS ({sources.files.signers} is missing)"]
    now = (*unset_notices(unset), *notices_of(found.judgements, records, found.commit, signers))
    return replace(
        found, notices=(*now, *found.notices, *earlier_notices(records, sources.files)),
        installation=_installation(sources), signers=signers, heads=heads_of(records),
    )  # fmt: skip


def _installation(sources: Sources) -> Mapping[str, str]:
    try:
        return sources.installation
    except SourceDown:
        return {}


def _gate_at(subject: str, sources: Sources, at: datetime, until: datetime | None = None) -> Evaluation:
    if subject == ENTRY:
        return evaluate(subject, entry_criteria(), sources, at)
    if subject != "sign-off":
        before = _gate_before(subject, sources, at)
        until = until or ending(subject, at, sources.records)
        return evaluate(subject, criteria_of(Part(subject)), sources, at, subject, before, until)
    last = _gate_at(WAVES[-1], sources, at)
    outcome, reason = (Outcome.PASS, "It is open.") if last.is_open else (Outcome.FAIL, "It is closed.")
    before = Before(last.subject, outcome, reason)
    found = evaluate(subject, criteria_of(Part.SIGN_OFF), sources, at, last.subject, before)
    red = notices_of_criteria(last.judgements, sources.records, last.commit)
    return replace(found, notices=tuple(each._replace(gate=last.subject) for each in red))


def gate_before(wave: str) -> str:
    """Return the gate before a wave: that of the wave before, or the entry."""
    return (ENTRY, *WAVES)[WAVES.index(wave)]


def _gate_before(wave: str, sources: Sources, at: datetime) -> Before:
    """Say whether the gate before was open when this wave began, by the evidence of that."""
    before = gate_before(wave)
    record = newest(sources.records, Kind.BEGIN, wave, at)
    if record is None:
        reason = f"Wave {wave} has not begun: leads golive begin {wave}"
        return Before(before, Outcome.INCONCLUSIVE, reason)
    when = f"when {wave} began, {record.holds_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if _was_open(before, record, sources.files):
        return Before(before, Outcome.PASS, f"It was open {when}.")
    return Before(before, Outcome.FAIL, f"It was not open {when}.")


def _was_open(wave: str, record: Record, files: Records) -> bool:
    kept = [each for each in record.evidence if each.name == f"{GATE}{wave}.json"]
    if not kept:
        return False
    document = json.loads(files.read_evidence(kept[0]))
    return document.get("subject") == wave and document.get("is_open") is True


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


def word_of(judgement: Judgement) -> str:
    """Return the word for an outcome on the terminal: what checks found keeps the level that they gave it."""
    levels = [found.level for found in judgement.measurement.findings]
    is_level = judgement.outcome is Outcome.FAIL and levels
    return max(levels).word if is_level else WORDS[judgement.outcome].terminal


def show(evaluation: Evaluation, *, as_json: bool) -> None:
    """Print an evaluation: what is open first, each with the fix."""
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
    commit = evaluation.commit[:12] or "unknown"
    console.print(f"{title}: {state}, {time_text(evaluation.at)}, commit {commit}")
    if evaluation.period:
        console.print(evaluation.period.text)
    found = Counter(map(word_of, evaluation.judgements))
    words = [word.terminal for word in WORDS.values()]
    words[1:1] = [Level.YELLOW.word] * (Level.YELLOW.word in found)
    console.print(", ".join(f"{found[word]} {word}" for word in words))
    for each in evaluation.notices:
        text = f"{each.gate}: {each.en}" if each.gate else each.en
        print_in_column("notice".ljust(COLUMN), text, console)
    if before := evaluation.before:
        name = "entry" if before.wave == ENTRY else f"wave {before.wave}"
        text = f"The gate of {name}. {before.reason}"
        print_in_column(WORDS[before.outcome].terminal.ljust(COLUMN), text, console)
    explained = _print_causes(evaluation, console)
    for word in words:
        for judgement in evaluation.judgements:
            if word_of(judgement) == word and judgement.criterion.id not in explained:
                print_judgement(judgement, console)


def _print_causes(evaluation: Evaluation, console: Console) -> set[str]:
    """Print each cause that no criterion names, with the criteria that it explains; return those."""
    explained: set[str] = set()
    for cause in evaluation.causes:
        names = [
            each.criterion.id
            for each in evaluation.judgements
            if each.is_blocking and _cause_of(each) == cause.check.id
        ]
        for found in cause.findings if names else ():
            text = f"{cause.check.id}: {found.text}"
            print_in_column(found.level.word.ljust(COLUMN), text, console)
            print_advice(found.cure, cause.check.runbook, COLUMN, console)
        if names:
            print_in_column(" " * COLUMN, f"so unknown: {', '.join(names)}", console)
        explained.update(names)
    return explained


def _cause_of(judgement: Judgement) -> str:
    """Return the check that explains all that is not green of a criterion; empty if there is none."""
    causes = {each.because_of for each in judgement.measurement.findings if each.level is not Level.GREEN}
    return causes.pop() if len(causes) == 1 and judgement.outcome is Outcome.INCONCLUSIVE else ""


def print_judgement(judgement: Judgement, console: Console) -> None:
    """Print a criterion: what was found, and what to do if it keeps a gate closed."""
    criterion = judgement.criterion
    head = f"{criterion.id}: {criterion.title_en}"
    print_in_column(word_of(judgement).ljust(COLUMN), head, console)
    for text in (finding(judgement), note(judgement)):
        if text:
            print_in_column(" " * COLUMN, text, console)
    if judgement.is_blocking:
        cure = cure_of(judgement)
        print_advice(f"{criterion.owner}: {cure}" if cure else "", criterion.runbook, COLUMN, console)


def cure_of(judgement: Judgement) -> str:
    """Return what helps: of checks the cure of the first finding that is not green and has one."""
    bad = [each for each in judgement.measurement.findings if each.level is not Level.GREEN]
    return next((each.cure for each in bad if each.cure), "" if bad else judgement.criterion.remediation)


def finding(judgement: Judgement) -> str:
    """Return what was measured and the target, in a line; of checks what they found."""
    criterion, measured = judgement.criterion, judgement.measurement
    target = f"target {criterion.shown_target}"
    if criterion.source is Source.CHECK:
        return judgement.reason or measured.details
    if judgement.why is not None:
        return f"{judgement.why}: {judgement.reason} ({target})"
    parts = [criterion.shown(measured.value)]
    if measured.total is not None:
        parts.append(f"of {measured.total}" if judgement.interval else f"(n = {measured.total})")
    if judgement.interval is not None:
        low, high = judgement.interval
        parts.append(f"(95 %: {low:.1%} to {high:.1%})")
    text = f"{' '.join(parts)}, {target}"
    return f"{text}; {measured.details}" if measured.details else text


def note(judgement: Judgement) -> str:
    """Return what a reader has to know beside the figure; empty if there is nothing."""
    if exemption := judgement.exemption:
        until = time_text(exemption.statement.until) if exemption.statement.until else ""
        return f"by {exemption.stated_by} until {until}: {exemption.statement.reason}"
    if judgement.is_shown is False:
        return f"Met, but not yet shown: {judgement.needed} cases are needed, if no further one is bad."
    return ""


def print_criterion(criterion: Criterion, console: Console) -> None:
    """Print a criterion of the list."""
    print_in_column(f"{criterion.id:<25} ", f"{criterion.title_en} ({criterion.shown_target})", console)
    places = f"{' '.join(criterion.parts)}; {criterion.source}; {', '.join(criterion.lines)}"
    print_in_column(" " * 26, places, console)


def time_text(time: datetime) -> str:
    """Return a time in UTC, to the minute."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


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

    Reads DATABASE_URL, PROMETHEUS_URL, HASURA_URL, PUBLIC_URL, GOLIVE_SIGNERS, and
    COMMIT of the image; what is not set is named first. --at judges a time in the
    past by what the database, Prometheus and the records say of it.
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
    by: By = "",
    since: Annotated[
        datetime | None,
        typer.Option(formats=TIMES, help="When it began, in UTC, at most 7 days ago; without it now."),
    ] = None,
    folder: RecordsFolder = DEFAULT_RECORDS,
    as_json: AsJson = False,
) -> None:
    """Record that a wave begins: its figures count from then on.

    Evaluates the gate of the wave before, of W1 the gate `entry`, and refuses
    (exit code 1) while it is closed. Keeps the result of the gate, of which
    installation it is, and how often large tables were read whole and indexes were
    read, as evidence. Signed by the release manager. Needs DATABASE_URL, GOLIVE_KEY
    and GOLIVE_SIGNERS.
    """
    read_operator_settings("DATABASE_URL")
    with open_sources(folder) as sources:
        start = _start(wave, moment(since), sources)
        evidence = [Handed(SCANS_FILE, scans_file(sources.session, datetime.now(UTC)))]
        evidence.append(Handed(INSTALLATION_FILE, json.dumps(dict(sources.installation)).encode()))
        earlier = gate_before(wave)
        with show_activity(f"evaluating the gate before {wave}"):
            before = gate_at(earlier, sources, datetime.now(UTC), start)
        if not before.is_open:
            print_evaluation(before, Console(stderr=True))
            say(f"{wave} cannot begin: the gate of {earlier} is closed.")
            raise typer.Exit(before.exit_code)
        document = json.dumps(before.document(), ensure_ascii=False, indent=1)
        evidence.append(Handed(f"{GATE}{earlier}.json", document.encode()))
        statement = make_statement(Kind.BEGIN, wave, by, since=start)
        (record,) = sources.files.add(statement, files=evidence)
    if as_json:
        print_json({"wave": wave, "since": start, "signer": record.signer, "sha256": record.digest})
    else:
        number = record.digest[:12]
        print_line(f"{wave} began at {time_text(start)}. Record {number}, signed by {record.signer}")


def _start(wave: str, start: datetime, sources: Sources) -> datetime:
    """Check when the wave began. Raises WrongUsage or CommandFailed."""
    now = datetime.now(UTC)
    if start < now - MAX_BACKDATED:
        raise WrongUsage(f"--since is at most {MAX_BACKDATED.days} days ago.")
    if found := newest(sources.records, Kind.BEGIN, wave, now):
        text = f"{wave} began at {time_text(found.holds_at)} already (record {found.digest[:12]})."
        raise CommandFailed(text)
    earlier = gate_before(wave)
    if earlier == ENTRY:
        return start
    begun = newest(sources.records, Kind.BEGIN, earlier, now)
    if begun is None:
        raise CommandFailed(f"{earlier} has not begun: leads golive begin {earlier}")
    if start <= begun.holds_at:
        raise WrongUsage(f"--since is after {time_text(begun.holds_at)}, when {earlier} began.")
    return start
