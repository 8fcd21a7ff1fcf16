"""Evaluation of gates and parts of the checklist, and the notices that are shown in red."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import compress, pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from leads.domain.body import ICT
from leads.domain.errors import IntegrationError
from ops.checks.model import Asked, Level, Result
from ops.checks.screen import FORMAT, finding_documents, shown
from ops.checks.table import BY_ID, look_at
from ops.clients.db_session import DatabaseError
from ops.failures import ExitCode, first_line
from ops.golive.criterion import WAVES, Criterion, Part, Source, criteria_of, entry_criteria, rule_of
from ops.golive.deploy.site import PLAN, PlanFile, read_plan_file
from ops.golive.judgement import EXEMPTIONS, Judgement, Notice, Outcome, Why, judge
from ops.golive.measuring import (
    HANDLERS_JOB,
    MAX_SHOWN,
    OF_SANDBOX,
    SCHEMA,
    SHOWN,
    SourceDown,
    Sources,
    ask_of_window,
    ending,
    first_installation,
    is_present,
    measure,
    read_row,
)
from ops.golive.records import Kind, Record, Records, heads_of, newest, stated
from ops.metadata.directory import parse
from ops.output import times
from ops.settings import commit_origin, installed_commit, read_operator_settings

VARIABLES = (
    "DATABASE_URL", "PROMETHEUS_URL", "HASURA_URL", "HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET",
    "PUBLIC_URL", "HANDLERS_URL", "EDGE_STATUS_URL",
)  # fmt: skip
NEEDED = ("DATABASE_URL", "PROMETHEUS_URL", "HASURA_URL", "HASURA_ADMIN_SECRET", "PUBLIC_URL")
"""Those without which a gate cannot open, or cannot name its installation."""
EVALUATION_SECONDS = 35.0
FIGURES = Path(__file__).with_name("contradictions.yaml")
GATE = "gate-"
"""Prefix of the name of the evidence on the gate before a wave, made when the wave began."""
Wave = Literal["W1", "W2", "W3", "W4"]
ENTRY = Part.ENTRY.value
Subject = Literal["entry", "W1", "W2", "W3", "W4", "sign-off"]
"""What is judged: whether W1 may begin, the gate of a wave, or the sign-off at the end of the pilot."""


@dataclass(frozen=True, slots=True)
class Before:
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
    commit_of: str = ""
    """Whether the commit is that of the `image` or of a `clone`."""

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
        return sum(each.outcome is outcome for each in self.judgements)

    def document(self) -> dict[str, Any]:
        """Return the evaluation as JSON values; times are ISO 8601 in UTC, shares from 0 to 1."""
        before, period = self.before, self.period
        return {
            "format": FORMAT, "subject": self.subject, "at": _utc(self.at), "commit": self.commit,
            "commit_of": self.commit_of,
            "installation": self.installation, "signers": self.signers, "heads": self.heads,
            "is_open": self.is_open,
            "notices": [notice._asdict() for notice in self.notices],
            "counts": {outcome.value: self.count(outcome) for outcome in Outcome},
            "period": period and asdict(period) | {
                name: _utc(getattr(period, name)) for name in ("since", "until", "stated_at")
            },
            "before": before and {"gate": before.wave, "outcome": before.outcome, "reason": before.reason},
            "causes": finding_documents(self.causes),
            "criteria": [_criterion_document(each) for each in self.judgements],
        }  # fmt: skip


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
    settings = read_operator_settings(may_have=VARIABLES)
    return Sources(settings, folder, source, plan=plan or read_plan_file(PLAN))


def evaluate(
    subject: str, criteria: Sequence[Criterion], sources: Sources, at: datetime, wave: str | None = None,
    before: Before | None = None, until: datetime | None = None,
) -> Evaluation:  # fmt: skip
    """Measure and judge each of the criteria at `at`; `wave` is that of the window `wave`, until `until`."""
    commit = installed_commit()
    asked = [
        Asked(BY_ID[name], each.parameters, each.id)
        for each in criteria
        if each.source is Source.CHECK
        for name in each.query.split()
    ]
    results: Sequence[Result] = ()
    if asked and is_present(at):
        results = look_at(asked, sources, seconds=EVALUATION_SECONDS)
    judgements = []
    for criterion in criteria:
        of_checks = [result for result in results if result.name == criterion.id]
        measured = measure(criterion, sources, at, wave, of_checks, until)
        # A waiver of it or of its least sample, or that it does not apply: the newest counts.
        kinds = EXEMPTIONS if criterion.may_be_waived else [Kind.WAIVE] * criterion.may_have_fewer
        exempt = filter(None, (newest(sources.records, kind, criterion.id, at) for kind in kinds))
        exemption = max(exempt, key=sources.records.index, default=None)
        judgements.append(judge(criterion, measured, at, commit, exemption))
    causes = tuple(each for each in shown(results) if not each.is_wanted)
    # The window is that of a wave; for the sign-off that of the pilot.
    name, first = (subject, wave) if subject in WAVES else ("pilot", WAVES[0])
    begun = newest(sources.records, Kind.BEGIN, first, at) if wave and first else None
    period = None
    if begun:
        period = Period(name, begun.holds_at, until or at, begun.stated_by, begun.statement.at)
    return Evaluation(
        subject, at, commit, tuple(judgements), before, period, causes, commit_of=commit_origin()
    )


def gate_at(subject: str, sources: Sources, at: datetime, until: datetime | None = None) -> Evaluation:
    """Evaluate a gate, or the sign-off, at a time. Raises RecordsError.

    Of the records those count that were stated until then. The wave ends at `until`: without it when the next
    one began, or at `at`.
    """
    sources.forget_later(at)
    found, records = _gate_at(subject, sources, at, until), sources.records
    signers = sources.files.signers_digest()
    unset = [name for name in NEEDED if not getattr(sources.settings, name.lower())]
    reasons = " ".join(each.reason for each in found.judgements)
    unset += [name for name in sorted(sources.unset - {*NEEDED}) if name in reasons]
    unset += [] if found.commit else ["COMMIT"]
    unset += [] if signers else [f"GOLIVE_SIGNERS ({sources.files.signers} is missing)"]
    named = ", ".join(unset)
    lacking = Notice(f"chưa cấu hình: {named}", f"not set, so what they answer is unknown: {named}")
    notices = [
        *[lacking] * bool(unset), *notices_of(found.judgements, records, found.commit, signers),
        *seen_notices(sources, found.commit, at), *found.notices,
        *earlier_notices(records, sources.files), *judged_again(subject, sources, at),
    ]  # fmt: skip
    installation: Mapping[str, str] = {}
    with suppress(SourceDown):
        installation = sources.installation
    return replace(
        found, notices=tuple(dict.fromkeys(notices)), installation=installation, signers=signers,
        heads=heads_of(records),
    )  # fmt: skip


def judged_again(subject: str, sources: Sources, at: datetime) -> Iterator[Notice]:
    """Judge the gates before as of when the next wave began, by what can still be asked.

    The evaluation that was kept then is a file of the release manager.
    """
    number = WAVES.index(subject) + 1 if subject in WAVES else 0 if subject == ENTRY else len(WAVES)
    for wave in WAVES[:number]:
        for begun in stated(sources.records, Kind.BEGIN, wave, at)[:1]:
            gate = gate_before(wave)
            found = judge_past(gate, sources, begun.statement.at, until=begun.holds_at)
            bad = sorted(blocking_known(found), key=lambda each: each.outcome is not Outcome.FAIL)
            names = ", ".join(each.named for each in bad[:MAX_SHOWN])
            names += f" … ({len(bad)})" if len(bad) > MAX_SHOWN else ""
            if bad:
                yield Notice(
                    f"xét lại thì không đạt: {names}", f"judged again, these do not pass: {names}", gate
                )


def judge_past(
    subject: str, sources: Sources, at: datetime, *, until: datetime | None = None, with_services: bool = True
) -> Evaluation:
    """Judge a gate again as of a time, by what can still be asked; without services by what people stated."""
    criteria = [
        each for each in _criteria_of(subject)
        if each.knows_past and (with_services or each.source.is_of_people)
    ]  # fmt: skip
    wave = subject if subject in WAVES else None if subject == ENTRY else WAVES[-1]
    return evaluate(subject, criteria, sources, at, wave, until=until)


def blocking_known(evaluation: Evaluation) -> list[Judgement]:
    return [each for each in evaluation.judgements if each.is_blocking and each.why is not Why.SOURCE_DOWN]


def _criteria_of(subject: str) -> Sequence[Criterion]:
    return entry_criteria() if subject == ENTRY else criteria_of(Part(subject))


def _gate_at(subject: str, sources: Sources, at: datetime, until: datetime | None = None) -> Evaluation:
    criteria = _criteria_of(subject)
    if subject == ENTRY:
        return evaluate(subject, criteria, sources, at)
    if subject != "sign-off":
        before = before_of(subject, sources, at)
        until = until or ending(subject, at, sources.records)
        return evaluate(subject, criteria, sources, at, subject, before, until)
    last = _gate_at(WAVES[-1], sources, at)
    outcome, reason = (Outcome.PASS, "It is open.") if last.is_open else (Outcome.FAIL, "It is closed.")
    before = Before(last.subject, outcome, reason)
    found = evaluate(subject, criteria, sources, at, last.subject, before)
    red = notices_of_criteria(last.judgements, sources.records, last.commit)
    return replace(found, notices=tuple(each._replace(gate=last.subject) for each in red))


def gate_before(wave: str) -> str:
    return (ENTRY, *WAVES)[WAVES.index(wave)]


def before_of(wave: str, sources: Sources, at: datetime) -> Before:
    """Say whether the gate before was open when this wave began, by the evidence of that."""
    before = gate_before(wave)
    record = newest(sources.records, Kind.BEGIN, wave, at)
    if record is None:
        reason = f"Wave {wave} has not begun: leads golive begin {wave}"
        return Before(before, Outcome.INCONCLUSIVE, reason)
    kept = sources.files.kept(record, f"{GATE}{before}.json")
    is_open = kept.get("subject") == before and kept.get("is_open") is True
    outcome, was = (Outcome.PASS, "was") if is_open else (Outcome.FAIL, "was not")
    return Before(before, outcome, f"It {was} open when {wave} began, {time_text(record.holds_at)}.")


def cure_of(judgement: Judgement) -> str:
    """Return what helps: of checks the cure of the first finding that is not green and has one."""
    bad = [each for each in judgement.measurement.findings if each.level is not Level.GREEN]
    at = judgement.measurement.until or datetime.now(UTC)
    return next((each.cure for each in bad if each.cure), "" if bad else judgement.criterion.cure(at))


def time_text(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def notices_of(
    judgements: Sequence[Judgement], records: Sequence[Record], commit: str, signers: str
) -> tuple[Notice, ...]:
    """Return what stands in red; `signers` is the SHA-256 of the allowed signers."""
    found = [*notices_of_criteria(judgements, records, commit), *_of_signers(records, signers)]
    found += _of_beginnings(records)
    if commit.startswith("modified"):
        found.append(Notice("phần mềm đang cài đã bị sửa", "the installed program was modified"))
    return tuple(found)


def earlier_notices(records: Sequence[Record], files: Records) -> Iterator[Notice]:
    """Yield the red notices of the gates before, as they were when a wave began. Raises RecordsError."""
    for evidence in (each for record in records if record.kind is Kind.BEGIN for each in record.evidence):
        if evidence.name.startswith(GATE):
            gate = json.loads(files.read_evidence(evidence))
            for each in gate.get("notices", ()):
                if not each.get("gate"):
                    yield Notice(each["vi"], each["en"], gate["subject"])


def notices_of_criteria(
    judgements: Sequence[Judgement], records: Sequence[Record], commit: str
) -> tuple[Notice, ...]:
    """Return the notices on criteria, each once, with the ids of all of them."""
    ids: dict[Notice, list[str]] = {}
    for judgement in judgements:
        later = _later_commits(judgement, records, commit)
        for notice in (*_exemption(judgement), *judgement.measurement.notices, *later):
            ids.setdefault(notice, []).append(judgement.criterion.id)
    of = {notice: ", ".join(names) for notice, names in ids.items()}
    return tuple(Notice(f"{names}: {vi}", f"{names}: {en}") for (vi, en, _), names in of.items())


def last_day(until: datetime) -> str:
    """Return the last day, in Vietnam, of what holds until then."""
    return f"{until.astimezone(ICT) - timedelta(seconds=1):%d/%m/%Y}"


def _exemption(judgement: Judgement) -> Iterable[Notice]:
    record = judgement.exemption
    if record is None or record.statement.until is None:
        return ()
    day, reason = last_day(record.statement.until), record.statement.reason
    is_waiver = record.kind is Kind.WAIVE
    return [Notice(
        f"{'được miễn' if is_waiver else 'không áp dụng'} đến {day} theo {record.stated_by_vi}: {reason}",
        f"{'waived' if is_waiver else 'not applicable'} until {day} by {record.stated_by}: {reason}",
    )]  # fmt: skip


def _later_commits(judgement: Judgement, records: Sequence[Record], commit: str) -> Iterable[Notice]:
    made_on = judgement.measurement.commit
    if not made_on or not judgement.measurement.installed:
        return ()
    installed = [each[:SHOWN] for each in (*(each.statement.commit for each in records), commit) if each]
    others = [not each.startswith(made_on[:SHOWN]) and not made_on.startswith(each) for each in installed]
    since = others.index(False) if False in others else len(installed) - 1
    later = dict.fromkeys(compress(installed[since:], others[since:]))
    names = ", ".join(later)
    text = f"on {made_on[:SHOWN]}; installed since: {names}"
    return [Notice(f"chạy trên {made_on[:SHOWN]}; sau đó đã cài {names}", text)] if later else ()


def _of_beginnings(records: Sequence[Record]) -> Iterator[Notice]:
    """Name a wave that began more than once, and records dated before a beginning that did not see them."""
    known, said = {each.digest: each for each in records}, set[str]()
    begun = [each for each in records if each.kind is Kind.BEGIN]
    for record in begun:
        name, reason = record.of, record.statement.reason
        if [each.of for each in begun].index(name) != begun.index(record):
            vi = reason or "không có lý do, nên tính từ lần đầu"
            en = reason or "no reason, so the first time counts"
            yield Notice(
                f"{name} được bắt đầu lại, {record.stated_by_vi}: {vi}",
                f"{name} began anew, by {record.stated_by}: {en}",
            )
        seen, left = set[str](), [*record.heads]
        while left:
            digest = left.pop()
            if digest not in seen:
                seen.add(digest)
                left += known[digest].heads
        late = [each for each in records
                if each.statement.at < record.statement.at and each.digest not in seen | said]  # fmt: skip
        said.update(each.digest for each in late)
        if names := ", ".join(f"{each.of} ({each.digest[:SHOWN]}, {each.signer})" for each in late):
            yield Notice(
                f"ghi ngày trước khi bắt đầu {name}, nhưng lúc đó chưa có: {names}",
                f"dated before {name} began, and not there then: {names}",
            )


def _of_signers(records: Sequence[Record], signers: str) -> Iterator[Notice]:
    """Name each change of the allowed signers since a wave began."""
    known = [(each.of, each.signers) for each in records if each.kind is Kind.BEGIN] + [("", signers)]
    for (wave, before), (_, after) in pairwise(known):
        if before != after:
            digests = f"{before[:SHOWN] or '–'} → {after[:SHOWN] or '–'}"
            yield Notice(
                f"danh sách người được ký đã đổi từ khi bắt đầu {wave}: {digests}",
                f"the allowed signers were changed after {wave} began: {digests}",
            )


class Figure(NamedTuple):
    """A figure of a day that Prometheus keeps, and that can only grow in the database; `title`: of what.

    `spare` is the share by which the stored `column` may be lower: what Prometheus estimates. The window of
    the statement begins so many minutes earlier than that of Prometheus, at which a figure may be that old.
    """

    promql: str
    sql: str
    column: str
    title: Mapping[str, str]
    spare: float = 0
    earlier_minutes: float = 5


@cache
def load_figures() -> tuple[Figure, ...]:
    return tuple(Figure(**each) for each in parse(FIGURES))


def seen_notices(sources: Sources, commit: str, at: datetime) -> Iterator[Notice]:
    """Yield where database and Prometheus contradict the records, and which questions they did not answer."""
    begun = newest(sources.records, Kind.BEGIN, WAVES[0], at)
    since = begun.holds_at if begun else at
    has_database, has_metrics = sources.settings.database_url, sources.settings.prometheus_url
    for source, is_asked, ask, vi, en in (  # What has no address is named as not set.
        (Source.SQL, has_database, partial(_of_installation, sources, at),
         "database có phải là bản ban đầu không", "whether the database is as it was"),
        (Source.SQL, has_database and begun, partial(_of_early_tickets, sources, since),
         "lead đã thành ticket trước khi W1 bắt đầu", "leads that became tickets before W1 began"),
        (Source.PROMQL, has_metrics and commit.isalnum(), partial(_of_handlers, sources, commit, at),
         "handler đang chạy bản nào", "which commit the handlers run"),
        (Source.PROMQL, has_metrics and has_database and begun,
         partial(_of_figures, sources, since, at),
         "số liệu Prometheus đã giữ có khớp database không", "whether the database has what Prometheus knew"),
    ):  # fmt: skip
        if not is_asked:
            continue
        try:
            if source in sources.down:
                raise SourceDown(sources.down[source])
            yield from ask()
        except (SourceDown, DatabaseError, IntegrationError) as error:
            yield Notice(f"không hỏi được: {vi}", f"could not be asked: {en} ({first_line(error)})")


def _of_installation(sources: Sources, at: datetime) -> Iterator[Notice]:
    first, now = first_installation(sources.files, sources.records, at), sources.installation
    if now["database"].startswith(OF_SANDBOX):
        yield Notice("đây là môi trường thử (sandbox): không có giá trị cho production",
                     "this is a sandbox: nothing of it counts for production")  # fmt: skip
    before, schema = first.get(SCHEMA), now[SCHEMA]
    if "" in (before, schema):
        yield Notice("không hỏi được: hàm, view và trigger trong database có đổi từ khi bắt đầu W1 không",
                     "could not be asked: whether functions, views or triggers of the database were changed"
                     " since W1 began")  # fmt: skip
    elif before not in (None, schema):
        yield Notice("hàm, view hoặc trigger trong database đã đổi từ khi bắt đầu W1",
                     "functions, views or triggers of the database were changed since W1 began")  # fmt: skip


def _of_early_tickets(sources: Sources, since: datetime) -> Iterator[Notice]:
    row = read_row(sources.session, "golive/count_early_tickets", {"to": since})
    if row and row["value"]:
        early = times(row["value"], "lead became a ticket", "leads became tickets")
        yield Notice(f"{row['value']} lead đã thành ticket trước khi W1 bắt đầu", f"{early} before W1 began")


def _of_handlers(sources: Sources, commit: str, at: datetime) -> Iterator[Notice]:
    others = f'count(pancake_build_info{{job="{HANDLERS_JOB}",commit!="",commit!="{commit}"}})'
    if any(sources.prometheus.query(others, at)):
        yield Notice(f"handler đang chạy bản khác, không phải {commit[:SHOWN]}",
                     f"handlers run another commit than {commit[:SHOWN]}")  # fmt: skip


def _of_figures(sources: Sources, since: datetime, at: datetime) -> Iterator[Notice]:
    """Name each figure of which Prometheus knew more than is stored, with the day that differs most."""
    days = [at - timedelta(days=number) for number in range((at - since).days + 1)]
    for figure in load_figures():
        found = []
        for day in days:
            since = day - timedelta(days=1)
            known = max(ask_of_window(sources.prometheus, figure.promql, since, day), default=0.0)
            window = {"from": since - timedelta(minutes=figure.earlier_minutes), "to": day}
            stored = (read_row(sources.session, figure.sql, window) or {}).get(figure.column) or 0
            # Prometheus computes with fractions, also where it counts; NaN is no difference.
            if known * (1 - figure.spare) - stored > 0.5:
                found.append((known - stored, known, stored, f"{day:%Y-%m-%d %H:%M} UTC"))
        if found:
            _, known, stored, time = max(found)
            yield Notice(
                f"{figure.title['vi']}: trong 24 giờ đến {time}, Prometheus từng thấy {known:,.0f},"
                f" database nay có {stored:,.0f}",
                f"{figure.title['en']}: of the day to {time} Prometheus knew {known:,.0f},"
                f" the database has {stored:,.0f}",
            )
