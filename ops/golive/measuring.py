"""Measure criteria: ask each source, and say in words which one could not be asked."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import isfinite
from pathlib import Path
from typing import Any

from leads.domain.day_ledger import day_window
from leads.domain.errors import DatabaseUnavailable, IntegrationError
from ops.checks.model import Finding, Level, Result
from ops.checks.services import Services
from ops.clients.db_session import QUERIES, DatabaseError, DbSession, LoginRefused, is_lost, open_session
from ops.clients.prometheus_api import PrometheusApi, PrometheusRefused
from ops.clients.signing import SignatureRefused
from ops.failures import CommandFailed, ExitCode
from ops.golive.criterion import PRODUCTION, WAVES, Criterion, Source, Window
from ops.golive.deploy.plan_file import PlanFile
from ops.golive.evidence import EvidenceError, read_evidence_file
from ops.golive.installation import first_installation, load_installation
from ops.golive.judgement import Measurement, Notice, Why
from ops.golive.records import CI, Kind, Record, Records, RecordsError, newest
from ops.settings import OperatorSettings

REQUEST_SECONDS, STATEMENT_SECONDS = 10.0, 30.0
PRESENT = timedelta(minutes=15)
"""An evaluation at a time not longer ago than this is one of the present."""
MAX_SHOWN = 5
"""So many findings of a criterion are shown."""
EVENTS = 1000
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
SCANS_FILE = "scans.json"
HELD_SHARE = 0.95
"""Of its window Prometheus has to hold so much: it may restart, and not be a new one."""
HELD_STEP_SECONDS = 300
EDGE_JOB = "pancake_edge"
STORED_BY_EDGE = (
    "sum(increase(pancake_webhook_requests_total"
    '{hop="edge",status=~"received|dead_letter|skipped_.*"}[$window]))'
)
"""The deliveries that the handlers stored as new: a duplicate is another answer."""
SCANS_PER_HOUR = 1.0
"""What a backup and a person's query may cause; a statement that runs for every lead is far above it."""


class SourceDown(CommandFailed):
    """A source cannot be asked; the text says why. It ends a command that cannot do without it."""

    exit_code = ExitCode.UNREACHABLE


class NoData(CommandFailed):
    """A source has no value for a criterion; the text says why."""


class Sources(Services):
    """What an evaluation reads: the services of the checks, and the records in the folder.

    A source that did not answer is not asked again (`down`: why); one without an address is never.
    """

    def __init__(
        self, settings: OperatorSettings, folder: Path, source: str = "default", **given: Any
    ) -> None:  # fmt: skip
        limits = {"request_seconds": REQUEST_SECONDS, "statement_seconds": STATEMENT_SECONDS}
        super().__init__(settings, "golive", source, folder=folder, **{"plan": PlanFile(), **limits, **given})
        self.files = Records(folder)
        self.down: dict[Source, str] = {}

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """Return what was stated, the oldest first. Raises RecordsError."""
        return self.files.read()

    @cached_property
    def session(self) -> DbSession:
        """Return a session that can only read, with a statement timeout. Raises SourceDown."""
        if not self.settings.database_url:
            raise SourceDown("DATABASE_URL is not set.")
        try:
            session = self._open.enter_context(open_session(self.settings.database_url, "golive"))
            timeout = f"{STATEMENT_SECONDS:g}s"
            session.execute("SELECT set_config('statement_timeout', %s, false)", [timeout])
            session.execute("SET default_transaction_read_only = on")
        except (DatabaseUnavailable, LoginRefused, DatabaseError) as error:
            raise SourceDown(f"The database does not answer: {first_line(error)}") from error
        return session

    @cached_property
    def installation(self) -> Mapping[str, str]:
        """Return which database, engine and edge are asked. Raises SourceDown."""
        return load_installation(self.session, self.settings)

    @cached_property
    def metrics(self) -> PrometheusApi:
        """Return the API of PROMETHEUS_URL. Raises SourceDown if it is not set."""
        if not self.settings.prometheus_url:
            raise SourceDown("PROMETHEUS_URL is not set.")
        return self.prometheus


def period_of(
    criterion: Criterion, wave: str | None, until: datetime, records: tuple[Record, ...]
) -> tuple[datetime, datetime]:
    """Return the window of a criterion: its start (included) and end (excluded). Raises NoData."""
    match criterion.window:
        case Window.NONE:
            return LONG_AGO, until
        case Window.DAY:
            return until - timedelta(days=1), until
        case Window.WAVE if wave:
            return beginning(wave, until, records), until
    return beginning(WAVES[0], until, records), until


def ending(wave: str, at: datetime, records: tuple[Record, ...]) -> datetime:
    """Return when a wave ended, which is when the next one began; `at` as long as it lasts."""
    later = [newest(records, Kind.BEGIN, each, at) for each in WAVES[WAVES.index(wave) + 1 :]]
    return min((record.holds_at for record in later if record), default=at)


def beginning(wave: str, at: datetime, records: tuple[Record, ...]) -> datetime:
    """Return when a wave began. Raises NoData."""
    record = newest(records, Kind.BEGIN, wave, at)
    if record is None:
        raise NoData(f"Wave {wave} has not begun: leads golive begin {wave}")
    return record.holds_at


def measure(
    criterion: Criterion, sources: Sources, at: datetime, wave: str | None,
    looked: Mapping[str, Sequence[Result]], until: datetime | None = None,
) -> Measurement:  # fmt: skip
    """Return what the source says at `at`; a source that cannot be asked is part of the measurement.

    `looked` are the results of the checks by the criterion. Windows end at `until`, or at `at`.
    """
    asked = Source.SQL if criterion.source is Source.COMMAND else criterion.source
    try:
        if criterion.source in (Source.PERSON, Source.FILE):
            return _attested(criterion, sources, at)
        if not _can_be_asked(criterion, at):
            raise NoData(f"Its source tells the present only, not {at:%Y-%m-%d %H:%M} UTC.")
        since, until = period_of(criterion, wave, until or at, sources.records)
        if criterion.source is Source.CHECK:
            return _from_checks(looked[criterion.id])
        if asked in sources.down:
            raise SourceDown(sources.down[asked])
        if criterion.source is Source.SQL:
            return _from_sql(criterion, sources.session, since, until)
        if criterion.source is Source.PROMQL:
            return from_prometheus(criterion, sources.metrics, since, until)
        return PROBES[criterion.query](sources, since, until)
    except (NoData, RecordsError, EvidenceError) as error:
        return Measurement(why=Why.NO_DATA, problem=str(error))
    except (SourceDown, DatabaseError, IntegrationError) as error:
        is_refusal = isinstance(error, PrometheusRefused) or (
            isinstance(error, DatabaseError) and not is_lost(error)
        )
        # A probe may ask two sources: only the database of them is known to be down.
        if not is_refusal and (criterion.source is not Source.COMMAND or isinstance(error, DatabaseError)):
            sources.down[asked] = first_line(error)
        return Measurement(why=Why.SOURCE_DOWN, problem=first_line(error))


def _can_be_asked(criterion: Criterion, at: datetime) -> bool:
    if datetime.now(UTC) - at <= PRESENT or criterion.source is Source.PROMQL:
        return True
    if criterion.source is Source.COMMAND:
        return criterion.window is not Window.NONE
    # A statement without the end of its window tells the state of now.
    return criterion.source is Source.SQL and b"%(to)s" in QUERIES[criterion.query]


def _from_checks(results: Sequence[Result]) -> Measurement:
    """Count what is not green; what could not be asked is no value."""
    findings = [found for each in results for found in each.findings]
    if not findings:
        raise NoData("Its checks were not asked.")
    bad = [found for found in findings if found.level > Level.UNKNOWN]
    unknown = [found for found in findings if found.level is Level.UNKNOWN]
    if unknown and not bad:
        is_down = any(not found.is_read for found in unknown)
        why = Why.SOURCE_DOWN if is_down else Why.NO_DATA
        return Measurement(why=why, problem=_texts(unknown), results=tuple(results))
    return Measurement(float(len(bad)), details=_texts(bad or findings), results=tuple(results))


def _texts(findings: Sequence[Finding]) -> str:
    more = f"; and {len(findings) - MAX_SHOWN} more" if len(findings) > MAX_SHOWN else ""
    return "; ".join(dict.fromkeys(found.text for found in findings[:MAX_SHOWN])) + more


def first_line(error: Exception) -> str:
    """Return the first line of an error: the others may quote rows."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip()


def _from_sql(criterion: Criterion, session: DbSession, since: datetime, until: datetime) -> Measurement:
    row = read_row(session, criterion.query, {"from": since, "to": until, **criterion.parameters})
    if row is None:
        raise NoData("The statement returned no row.")
    value = row[criterion.value]
    total, good, bad = (
        sum(int(row[name] or 0) for name in columns) if columns else None
        for columns in (criterion.samples, criterion.good, criterion.bad)
    )
    return Measurement(
        value=None if value is None else float(value), total=total,
        bad=total - good if total is not None and good is not None else bad,
        needed=int(row.get(criterion.needed) or 0),
        details=str(row.get("details") or "") or _in_business_hours(row, criterion.value),
        since=since, until=until,
    )  # fmt: skip


def _in_business_hours(row: Mapping[str, Any], column: str) -> str:
    """Return a response time in business hours, if it is another one: gates count by the clock."""
    minutes = row.get(column.replace("_minutes", "_business_minutes"))
    return "" if minutes in (None, row[column]) else f"in business hours {minutes:,.0f} min"


def read_row(session: DbSession, name: str, params: Mapping[str, object]) -> Mapping[str, Any] | None:
    """Run a statement for the window from `from` to `to` of the parameters; None if it returned no row.

    Raises DatabaseError.
    """
    return session.execute(QUERIES[name], params).fetchone()


def from_prometheus(
    criterion: Criterion, prometheus: PrometheusApi, since: datetime, until: datetime
) -> Measurement:
    def ask(expression: str) -> list[float]:
        return ask_of_window(prometheus, expression, since, until)

    if criterion.window is not Window.NONE:
        require_held(prometheus, criterion.parameters["job"], since, until)
    values, total = ask(criterion.query), None
    if cases := criterion.parameters.get("samples"):
        counted = ask(cases)
        total = int(counted[0]) if len(counted) == 1 and isfinite(counted[0]) else 0
    if len(values) != 1:
        raise NoData(f"The query has {len(values)} series; it needs one.")
    return Measurement(value=values[0], total=total, since=since, until=until)


def ask_of_window(
    prometheus: PrometheusApi, expression: str, since: datetime, until: datetime
) -> list[float]:  # fmt: skip
    """Return the values of an expression about the window, `$window` in it. Raises PrometheusUnavailable."""
    return prometheus.query(expression.replace("$window", f"{_seconds(since, until)}s"), until)


def require_held(prometheus: PrometheusApi, job: str, since: datetime, until: datetime) -> None:
    """Raise NoData unless Prometheus reached a target of the job for most of the window."""
    expression = f'count_over_time((max(up{{job="{job}"}}) == 1)[$window:{HELD_STEP_SECONDS}s])'
    held = sum(ask_of_window(prometheus, expression, since, until)) * HELD_STEP_SECONDS
    seconds = _seconds(since, until)
    if held < HELD_SHARE * seconds:
        raise NoData(f"Prometheus holds {held / 3600:.1f} h of {job}, of {seconds / 3600:.1f} h.")


def _seconds(since: datetime, until: datetime) -> int:
    return max(1, int((until - since).total_seconds()))


BY_PERSON = Notice("do người khai, không có chữ ký của CI", "stated by a person, not signed by CI")


def _attested(criterion: Criterion, sources: Sources, at: datetime) -> Measurement:
    record = newest(sources.records, Kind.ATTEST, criterion.id, at)
    if record is None:
        raise NoData(f"Not attested yet: leads golive attest {criterion.id}")
    stated = record.statement
    details = f"by {record.stated_by}, {stated.at:%Y-%m-%d}"
    if criterion.source is Source.PERSON:
        instead = Notice(f"{record.signer} thay {stated.by}", f"stated by {record.stated_by}")
        notices = (instead,) if stated.by else ()
        return Measurement(
            stated.value, total=stated.cases, measured_at=stated.at, details=details, notices=notices
        )
    evidence = record.evidence[0]
    found = read_evidence_file(criterion, sources.files.read_evidence(evidence))
    begun = newest(sources.records, Kind.BEGIN, WAVES[0], at)
    if criterion.query == "baseline" and begun and found.until and found.until >= begun.holds_at:
        raise NoData(f"It has tickets from after {WAVES[0]} began.")
    if found.database:
        _check_database(criterion, found.database, sources)
    made_at = found.measured_at or stated.at
    try:
        pipeline = sources.files.signer(CI, sources.files.evidence_path(evidence), made_at)
    except (SignatureRefused, CommandFailed):
        pipeline = ""
    more = "; ".join(filter(None, [f"signed by {pipeline}" if pipeline else "", found.details]))
    return replace(
        found, measured_at=made_at, details=f"{details}, {more}" if more else details,
        installed=stated.commit, notices=() if pipeline else (BY_PERSON,),
    )  # fmt: skip


def _check_database(criterion: Criterion, database: str, sources: Sources) -> None:
    """Refuse evidence that was made on another database than it should. Raises NoData and SourceDown."""
    here = sources.installation["database"]
    if not here:
        raise NoData("pg_control_system() did not say which database this is: grant it to the role.")
    is_here = database == here
    if is_here is not (criterion.environment == PRODUCTION):
        raise NoData(f"It was made on {database}, which is {'' if is_here else 'not '}the one of this gate.")


def changed_installation(sources: Sources, *_: datetime) -> Measurement:
    """Count what is another one than when W1 began: database, engine, edge."""
    first = first_installation(sources.files, sources.records, datetime.now(UTC))
    now = sources.installation
    if not first:
        raise NoData(f"It is known from the beginning of {WAVES[0]} on.")
    changed = [f"{name}: {first[name] or 'unknown'}, now {now[name] or 'unknown'}" for name in first
               if first[name] != now[name]]  # fmt: skip
    return Measurement(value=float(len(changed)), details="; ".join(changed) or ", ".join(now.values()))


def load_scans(session: DbSession) -> dict[str, dict[str, int]]:
    """Return how often tables were read whole (`scans`), and indexes were read, since the statistics began.

    `large_indexes` are those of large tables only. Raises DatabaseError.
    """
    tables = session.execute(QUERIES["golive/load_scans"]).fetchall()
    indexes = session.execute(QUERIES["golive/load_index_scans"]).fetchall()
    return {
        "scans": {row["name"]: row["seq_scan"] for row in tables},
        "indexes": {row["name"]: row["idx_scan"] for row in indexes},
        "large_indexes": {row["name"]: row["idx_scan"] for row in indexes if row["is_large"]},
    }


def scans_file(session: DbSession, at: datetime) -> bytes:
    """Return what `scans_since_begin` compares with later, as JSON. Raises DatabaseError."""
    return json.dumps({"at": at.isoformat(), **load_scans(session)}).encode()


def scans_since_begin(sources: Sources, *_: datetime) -> Measurement:
    """Count what is wrong since the wave began.

    That is a large table that was read whole more than once an hour, and an index of a large table that was
    not read although leads came.
    """
    begun = [record for record in sources.records if record.kind is Kind.BEGIN]
    kept = [each for each in begun[-1].evidence if each.name == SCANS_FILE] if begun else []
    if not kept:
        raise NoData("No wave has begun: leads golive begin W1")
    before = json.loads(sources.files.read_evidence(kept[0]))
    since = datetime.fromisoformat(before["at"])
    session = sources.session
    now = load_scans(session)
    if not now["scans"]:
        raise NoData("No table has more than 10,000 rows: none is compared.")
    hours = (datetime.now(UTC) - since) / timedelta(hours=1)
    found = growth(before["scans"], now["scans"], hours)
    row = session.execute(QUERIES["golive/count_new_events"], {"from": since}).fetchone()
    if row and row["value"]:
        found += unread(before.get("indexes", {}), now["large_indexes"])
    return Measurement(value=float(len(found)), details=", ".join(found))


def growth(before: Mapping[str, int], now: Mapping[str, int], hours: float) -> list[str]:
    """Return the tables that were read whole more than SCANS_PER_HOUR, with the number.

    A table that was small before counts from 0. A lower number than before: the statistics began anew.
    """
    found = []
    for name, scans in now.items():
        old = before.get(name, 0)
        grown = scans - old if scans >= old else scans
        if grown > max(1.0, hours) * SCANS_PER_HOUR:
            found.append(f"{name}: {grown} times in {hours:.0f} h")
    return found


def unread(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Return the indexes that were not read since; a lower number than before: the statistics began anew."""
    return [f"{name}: never read" for name, scans in now.items() if scans in (0, before.get(name, 0))]


def insert_thousand_events(sources: Sources, *_: datetime) -> Measurement:
    """Return the milliseconds that inserting 1,000 events takes; they are undone."""
    session = sources.session
    with session.transaction(force_rollback=True):
        session.execute("SET TRANSACTION READ WRITE")
        started = time.monotonic()
        inserted = session.execute(QUERIES["golive/insert_thousand_events"]).rowcount
        milliseconds = (time.monotonic() - started) * 1000
    if inserted != EVENTS:
        raise NoData("There is no connection yet: leads golive deploy, step 13")
    return Measurement(value=round(milliseconds, 1))


def ledger_differences(sources: Sources, since: datetime, until: datetime) -> Measurement:
    """Count the records of the reconciled days that are gone, or that were recoded without a replay."""
    session, gone, recoded = sources.session, 0, 0
    ledgers = session.execute(QUERIES["golive/list_ledgers"], {"from": since, "to": until}).fetchall()
    for ledger in ledgers:
        day = day_window(ledger["day"])
        params = {name: ledger[name] for name in ("connection_id", "tables")}
        params |= {"window_from": day.start, "window_to": day.end}
        now = session.execute(QUERIES["reconcile_daily/count_first_seen"], params).fetchall()
        gone += max(0, ledger["records"] - sum(row["records"] for row in now))
        recoded += ledger["recoded"]
    details = f"{gone} are gone, {recoded} were recoded" if gone or recoded else ""
    return Measurement(float(gone + recoded), total=len(ledgers), details=details)


def edge_differences(sources: Sources, since: datetime, until: datetime) -> Measurement:
    """Return the share of the deliveries that the edge saw stored, and that are not stored any more."""
    require_held(sources.metrics, EDGE_JOB, since, until)
    counted = round(sum(ask_of_window(sources.metrics, STORED_BY_EDGE, since, until)))
    row = read_row(sources.session, "golive/count_deliveries", {"from": since, "to": until}) or {}
    gone = max(0, counted - int(row["events"]))
    details = f"the edge counted {counted:,}, {row['events']:,} are stored"
    return Measurement(gone / counted if counted else None, total=counted, bad=gone, details=details)


PROBES: Mapping[str, Callable[[Sources, datetime, datetime], Measurement]] = {
    "changed_installation": changed_installation,
    "scans_since_begin": scans_since_begin,
    "ledger_differences": ledger_differences,
    "edge_differences": edge_differences,
    "insert_thousand_events": insert_thousand_events,
}
"""What measures for the source `command`, by the name that `query` of a criterion has."""
