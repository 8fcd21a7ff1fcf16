"""Measure criteria: ask each source, and say in words which one could not be asked."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import isfinite
from operator import itemgetter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from leads.domain.day_ledger import day_window
from leads.domain.errors import DatabaseUnavailable, IntegrationError
from ops.checks.model import Finding, Level, Result
from ops.checks.services import NotSet, Services
from ops.clients.db_session import (
    QUERIES,
    DatabaseError,
    DbSession,
    LoginRefused,
    is_lost,
    load_row,
    open_session,
)
from ops.clients.hasura_admin import Engine
from ops.clients.monitoring import PrometheusApi, PrometheusRefused
from ops.clients.signing import SignatureRefused
from ops.failures import CommandFailed, ExitCode, first_line
from ops.golive.criterion import PRODUCTION, STAGING, WAVES, Criterion, Source, Window, load_criteria
from ops.golive.deploy.site import PlanFile
from ops.golive.judgement import EvidenceError, Measurement, Notice, Why, read_evidence_file
from ops.golive.records import CI, LONG_AGO, Kind, Record, Records, RecordsError, newest, stated
from ops.settings import OperatorSettings

REQUEST_SECONDS, STATEMENT_SECONDS = 10.0, 30.0
PRESENT = timedelta(minutes=15)
"""An evaluation at a time not longer ago than this is one of the present."""
MAX_SHOWN = 5
"""So many findings of a criterion are shown."""
EVENTS, TRIES = 1000, 3
"""What else runs on the machine slows a single try."""
SCANS_FILE, INSTALLATION_FILE = "scans.json", "installation.json"
"""Evidence of the beginning of a wave."""
HELD_SHARE, HELD_STEP_SECONDS, MIN_HELD_STEPS = 0.95, 300, 40
"""Of its window Prometheus has to hold so much: it may restart, and not be a new one.

It is asked in steps: on the first day the window is only minutes long.
"""
EDGE_JOB, HANDLERS_JOB = "pancake_edge", "pancake_handlers"
ANSWERED_BY_EDGE = (
    'sum(increase(pancake_webhook_requests_total{job="pancake_edge",hop="edge",status=~"%s"}[$window]))'
)
STORED = "received|dead_letter|skipped_.*"
"""The answers for what the handlers stored as new: a duplicate is another answer."""
CONNECTIONS_OF_EDGE = (
    'count(count by (connection) (max_over_time(pancake_edge_budget_used{connection=~"$ids"}[$window])))'
)
SEEN_SHARE = 0.95
"""The share of the stored deliveries that Prometheus has to know: with less, an edge is not scraped."""
RESULTS_OF_HANDLERS = 'sum(increase(pancake_events_total{result=~"%s"}[$window]))'
DEAD_LETTER, PROCESSED = "dead_letter", ".*_created|.*_updated|record_deleted|stale|no_change"
UNSEEN_SHARE, MIN_UNSEEN = 0.002, 3
"""The share of processed leads that Prometheus may lack: a killed process loses its last figures."""
BEFORE_WINDOW = timedelta(days=2)
"""How long before the window a dead letter of the window may have arrived."""
SCANS_PER_HOUR = 1.0
"""What a backup and a person's query may cause; a statement that runs for every lead is far above it."""
OF_SANDBOX = "sandbox:"
"""Prefix of the name of a sandbox's database."""
SHOWN = 12
"""The number of digits of a hash that are shown."""
SCHEMA = "schema"
"""The part of an installation that an upgrade changes too: it closes no gate."""


def load_installation(
    session: DbSession, settings: OperatorSettings, engine: Engine | None = None
) -> dict[str, str]:
    """Return the values that identify an installation; an unknown one is empty.

    That are the identifiers that PostgreSQL and the engine gave themselves, else the address of the engine,
    the addresses of edge and Prometheus, and the digest of what our functions, views and triggers do.
    """

    def ask(name: str) -> str:
        with suppress(DatabaseError):
            return str(next(iter(load_row(session, name).values())))
        return ""

    identity = ""
    with suppress(IntegrationError, CommandFailed):
        identity = engine.identity() if engine else _address(settings.hasura_url)
    return {
        "database": ask("golive/load_installation"),
        "engine": identity,
        "edge": _address(settings.public_url),
        "prometheus": _address(settings.prometheus_url),
        SCHEMA: ask("golive/load_schema"),
    }


def _address(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def first_installation(files: Records, records: tuple[Record, ...], at: datetime) -> Mapping[str, str]:
    """Return the installation with which W1 began; empty if it has not. Raises RecordsError."""
    begun = stated(records, Kind.BEGIN, WAVES[0], at)
    return files.kept(begun[0], INSTALLATION_FILE) if begun else {}


class SourceDown(CommandFailed):
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
        return self.files.read()

    def forget_later(self, at: datetime) -> None:
        self.records = tuple(each for each in self.records if each.statement.at <= at)

    @cached_property
    def session(self) -> DbSession:
        if not self.settings.database_url:
            raise SourceDown("DATABASE_URL is not set.")
        try:
            session = self.enter_context(open_session(self.settings.database_url, "golive"))
            timeout = f"{STATEMENT_SECONDS:g}s"
            session.execute("SELECT set_config('statement_timeout', %s, false)", [timeout])
            session.execute("SET default_transaction_read_only = on")
        except (DatabaseUnavailable, LoginRefused, DatabaseError) as error:
            raise SourceDown(f"The database does not answer: {first_line(error)}") from error
        return session

    @cached_property
    def installation(self) -> Mapping[str, str]:
        engine = self.engine if self.settings.hasura_url and self.settings.hasura_admin_secret else None
        return load_installation(self.session, self.settings, engine)


def since_of(
    criterion: Criterion, wave: str | None, until: datetime, records: tuple[Record, ...]
) -> datetime:
    """Return when the window of a criterion begins that ends at `until`. Raises NoData."""
    if criterion.window is Window.NONE:
        return LONG_AGO
    if criterion.window is Window.DAY:
        begun = newest(records, Kind.BEGIN, WAVES[0], until)
        return max(until - timedelta(days=1), begun.holds_at if begun else LONG_AGO)
    first = wave if wave and criterion.window is Window.WAVE else WAVES[0]
    return beginning(first, until, records)


def ending(wave: str, at: datetime, records: tuple[Record, ...]) -> datetime:
    """Return when a wave ended, which is when the next one first began; `at` as long as it lasts."""
    later = WAVES[WAVES.index(wave) + 1 :]
    begun = (each.holds_at for name in later for each in stated(records, Kind.BEGIN, name, at))
    return min(begun, default=at)


def beginning(wave: str, at: datetime, records: tuple[Record, ...]) -> datetime:
    record = newest(records, Kind.BEGIN, wave, at)
    if record is None:
        raise NoData(f"Wave {wave} has not begun: leads golive begin {wave}")
    return record.holds_at


def measure(
    criterion: Criterion, sources: Sources, at: datetime, wave: str | None,
    results: Sequence[Result] = (), until: datetime | None = None,
) -> Measurement:  # fmt: skip
    """Return what the source says at `at`; a source that cannot be asked is part of the measurement.

    `results` are those of its checks. Windows end at `until`, or at `at`.
    """
    asked = Source.SQL if criterion.source is Source.COMMAND else criterion.source
    try:
        if criterion.source.is_of_people:
            return _attested(criterion, sources, at)
        if not (criterion.knows_past or is_present(at)):
            raise NoData(f"Its source tells the present only, not {at:%Y-%m-%d %H:%M} UTC.")
        until = until or at
        since = since_of(criterion, wave, until, sources.records)
        if criterion.source is Source.CHECK:
            return _from_checks(results)
        if asked in sources.down:
            raise SourceDown(sources.down[asked])
        if criterion.source is Source.SQL:
            return _from_sql(criterion, sources.session, since, until)
        if criterion.source is Source.PROMQL:
            return from_prometheus(criterion, sources.prometheus, since, until)
        found = PROBES[criterion.query](sources, since, until)
        return found if criterion.window is Window.NONE else replace(found, since=since, until=until)
    except (NoData, RecordsError, EvidenceError) as error:
        return Measurement(why=Why.NO_DATA, problem=str(error))
    except (SourceDown, NotSet, DatabaseError, IntegrationError) as error:
        is_refusal = isinstance(error, PrometheusRefused) or (
            isinstance(error, DatabaseError) and not is_lost(error)
        )
        # A probe may ask two sources: only the database of them is known to be down.
        if not is_refusal and (criterion.source is not Source.COMMAND or isinstance(error, DatabaseError)):
            sources.down[asked] = first_line(error)
        return Measurement(why=Why.SOURCE_DOWN, problem=first_line(error))


def is_present(at: datetime) -> bool:
    """Whether sources that know only the present can be asked for this time."""
    return datetime.now(UTC) - at <= PRESENT


def _from_checks(results: Sequence[Result]) -> Measurement:
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


def _from_sql(criterion: Criterion, session: DbSession, since: datetime, until: datetime) -> Measurement:
    row = read_row(session, criterion.query, {"from": since, "to": until, **criterion.parameters})
    if row is None:
        raise NoData("The statement returned no row.")
    value = row[criterion.value]
    total, good, bad = (
        sum(int(row[name] or 0) for name in columns) if columns else None
        for columns in (criterion.samples, criterion.good, criterion.bad)
    )
    # Gates count by the clock.
    minutes = row.get(criterion.value.replace("_minutes", "_business_minutes"))
    business_hours = "" if minutes in (None, value) else f"in business hours {minutes:,.0f} min"
    return Measurement(
        value=None if value is None else float(value), total=total,
        bad=total - good if total is not None and good is not None else bad,
        needed=int(row.get(criterion.needed) or 0),
        details=str(row.get("details") or business_hours),
        notices=(Notice(row["notice_vi"], row["notice_en"]),) if row.get("notice_en") else (),
        since=since, until=until,
    )  # fmt: skip


def read_row(session: DbSession, name: str, params: Mapping[str, object]) -> Mapping[str, Any] | None:
    """Run a statement for the window `from` to `to`; None if it returned no row. Raises DatabaseError."""
    return session.execute(QUERIES[name], params).fetchone()


def from_prometheus(
    criterion: Criterion, prometheus: PrometheusApi, since: datetime, until: datetime
) -> Measurement:
    if criterion.window is not Window.NONE:
        require_held(prometheus, criterion.parameters["job"], since, until)
    values, total = ask_of_window(prometheus, criterion.query, since, until), None
    if cases := criterion.parameters.get("samples"):
        counted = ask_of_window(prometheus, cases, since, until)
        total = int(counted[0]) if len(counted) == 1 and isfinite(counted[0]) else 0
    if len(values) != 1:
        raise NoData(f"The query has {len(values)} series; it needs one.")
    notices = _told(criterion, values[0]) if values[0] > 0 else ()
    return Measurement(value=values[0], total=total, notices=notices, since=since, until=until)


def _told(criterion: Criterion, value: float | None) -> tuple[Notice, ...]:
    """Return what the criterion tells in red of a value (`{:g}`), although that passes."""
    vi, en = (criterion.parameters.get(name, "") for name in ("notice_vi", "notice_en"))
    return (Notice(vi.format(value), en.format(value)),) if en else ()


def ask_of_window(
    prometheus: PrometheusApi, expression: str, since: datetime, until: datetime
) -> list[float]:  # fmt: skip
    """Return the values of an expression about the window, `$window` in it. Raises PrometheusUnavailable."""
    return prometheus.query(expression.replace("$window", f"{_seconds(since, until)}s"), until)


def _count(sources: Sources, expression: str, since: datetime, until: datetime) -> int:
    return round(sum(ask_of_window(sources.prometheus, expression, since, until)))


def require_held(prometheus: PrometheusApi, job: str, since: datetime, until: datetime) -> None:
    """Raise NoData unless Prometheus reached a target of the job for most of the window."""
    seconds = _seconds(since, until)
    step = max(1, min(HELD_STEP_SECONDS, seconds // MIN_HELD_STEPS))
    expression = f'count_over_time((max(up{{job="{job}"}}) == 1)[$window:{step}s])'
    held = sum(ask_of_window(prometheus, expression, since, until)) * step
    if held < HELD_SHARE * seconds:
        raise NoData(f"Prometheus holds {held / 3600:.1f} h of {job}, of {seconds / 3600:.1f} h.")


def _seconds(since: datetime, until: datetime) -> int:
    return max(1, int((until - since).total_seconds()))


BY_PERSON = Notice("do người khai, không có chữ ký của CI", "stated by a person, not signed by CI")


def _attested(criterion: Criterion, sources: Sources, at: datetime) -> Measurement:
    record = newest(sources.records, Kind.ATTEST, criterion.id, at)
    if record is None:
        raise NoData(f"Not attested yet: {criterion.how_to_attest}")
    stated = record.statement
    details = f"by {record.stated_by}, {stated.at:%Y-%m-%d}"
    if criterion.source is Source.PERSON:
        details += ", of staging" if criterion.is_stated_of_staging else ""
        instead = Notice(record.stated_by_vi, f"stated by {record.stated_by}")
        notices = (instead,) if stated.by else ()
        return Measurement(
            stated.value, total=stated.cases, measured_at=stated.at, details=details, notices=notices
        )
    if not record.evidence:
        raise NoData(f"Its record has no file: {criterion.how_to_attest}")
    evidence = record.evidence[0]
    found = read_evidence_file(criterion, sources.files.read_evidence(evidence))
    begun = newest(sources.records, Kind.BEGIN, WAVES[0], at)
    if criterion.query == "baseline" and begun and found.until and found.until >= begun.holds_at:
        raise NoData(f"It has tickets from after {WAVES[0]} began.")
    told = _told(criterion, found.value)
    if found.database:
        _check_database(criterion, found.database, sources)
        details = f"{details}, made on {found.database}"
        first = found.database if criterion.environment == PRODUCTION else first_staging(sources, at)
        if found.database != first:
            vi = f"staging khác lần đầu: {found.database}, lần đầu là {first}"
            told += (Notice(vi, f"another staging than at first: {found.database}, which was {first}"),)
    made_at = found.measured_at or stated.at
    try:
        pipeline = sources.files.signer(CI, sources.files.evidence_path(evidence), made_at)
    except (SignatureRefused, CommandFailed):
        pipeline = ""
    more = "; ".join(filter(None, [f"signed by {pipeline}" if pipeline else "", found.details]))
    return replace(
        found, measured_at=made_at, details=f"{details}, {more}" if more else details,
        installed=stated.commit, notices=(*told, *([] if pipeline else [BY_PERSON])),
    )  # fmt: skip


def first_staging(sources: Sources, at: datetime) -> str:
    """Return the database of the first evidence of staging that counts; empty without one."""
    of_staging = (
        (record.statement.at, each, record)
        for each in load_criteria() if each.source is Source.FILE and each.environment == STAGING
        for record in stated(sources.records, Kind.ATTEST, each.id, at)
    )  # fmt: skip
    for _, criterion, record in sorted(of_staging, key=itemgetter(0)):
        with suppress(NoData, EvidenceError, RecordsError, LookupError):
            content = sources.files.read_evidence(record.evidence[0])
            database = read_evidence_file(criterion, content).database
            _check_database(criterion, database, sources)
            return database
    return ""


def _check_database(criterion: Criterion, database: str, sources: Sources) -> None:
    here = sources.installation["database"]
    if not here:
        raise NoData("pg_control_system() did not say which database this is: grant it to the role.")
    if database.startswith(OF_SANDBOX) and not here.startswith(OF_SANDBOX):
        raise NoData(f"It was made on {database}, which is a sandbox.")
    is_here = database == here
    if is_here is not (criterion.environment == PRODUCTION):
        raise NoData(f"It was made on {database}, which is {'' if is_here else 'not '}the one of this gate.")


def changed_installation(sources: Sources, *_: datetime) -> Measurement:
    """Count the parts that differ from those with which W1 began; an unknown part counts as different."""
    first = first_installation(sources.files, sources.records, datetime.now(UTC))
    now = sources.installation
    if not first:
        raise NoData(f"It is known from the beginning of {WAVES[0]} on.")
    parts = [name for name in now if name in first and name != SCHEMA]
    if unknown := [name for name in parts if not now[name]]:
        raise NoData(f"It is not known which one is asked: {', '.join(unknown)}.")
    changed = [
        f"{name}: {first[name] or 'unknown'}, now {now[name]}" for name in parts if first[name] != now[name]
    ]
    same = ", ".join(now[name] for name in parts)
    return Measurement(value=float(len(changed)), details="; ".join(changed) or same)


def load_scans(session: DbSession) -> dict[str, dict[str, int]]:
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

    That is a large table that was read whole more than SCANS_PER_HOUR, and an index of a large table that was
    not read although leads came. A lower number than before: the statistics began anew.
    """
    begun = [record for record in sources.records if record.kind is Kind.BEGIN]
    before = sources.files.kept(begun[-1], SCANS_FILE) if begun else {}
    if not before:
        raise NoData("No wave has begun: leads golive begin W1")
    since, session = datetime.fromisoformat(before["at"]), sources.session
    now = load_scans(session)
    if not now["scans"]:
        raise NoData("No table has more than 10,000 rows: none is compared.")
    hours, found = (datetime.now(UTC) - since) / timedelta(hours=1), []
    for name, scans in now["scans"].items():
        old = before["scans"].get(name, 0)  # 0: it was small before
        grown = scans - old if scans >= old else scans
        if grown > max(1.0, hours) * SCANS_PER_HOUR:
            found.append(f"{name}: {grown} times in {hours:.0f} h")
    row = session.execute(QUERIES["golive/count_new_events"], {"from": since}).fetchone()
    if row and row["value"]:
        was = before.get("indexes", {})
        unread = [name for name, scans in now["large_indexes"].items() if scans in (0, was.get(name, 0))]
        found += [f"{name}: never read" for name in unread]
    return Measurement(value=float(len(found)), details=", ".join(found))


def insert_thousand_events(sources: Sources, *_window: datetime) -> Measurement:
    """Return the milliseconds that inserting 1,000 events takes, of the fastest try; they are undone."""
    session, milliseconds = sources.session, []
    for _ in range(TRIES):
        with session.transaction(force_rollback=True):
            session.execute("SET TRANSACTION READ WRITE")
            started = time.monotonic()
            inserted = session.execute(QUERIES["golive/insert_thousand_events"]).rowcount
            milliseconds.append((time.monotonic() - started) * 1000)
        if inserted != EVENTS:
            raise NoData("There is no connection yet: leads golive deploy, step 13")
    return Measurement(value=round(min(milliseconds), 1))


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
    require_held(sources.prometheus, EDGE_JOB, since, until)
    row = read_row(sources.session, "golive/count_deliveries", {"from": since, "to": until}) or {}
    if not _count(sources, CONNECTIONS_OF_EDGE.replace("$ids", "|".join(row["connections"])), since, until):
        raise NoData("Prometheus has no edge that knows a connection of this database.")
    # What waited on its disk the edge had answered before that was stored.
    counted, waited = (
        _count(sources, ANSWERED_BY_EDGE % status, since, until) for status in (STORED, "spooled")
    )
    stored = int(row["events"])
    details = f"the edge counted {counted:,}, {stored:,} are stored"
    if counted + waited < SEEN_SHARE * stored:
        raise NoData(f"Prometheus does not have all edges: {details}.")
    gone = max(0, counted - stored)
    return Measurement(gone / counted if counted else None, total=counted, bad=gone, details=details)


def dead_letter_differences(sources: Sources, since: datetime, until: datetime) -> Measurement:
    """Count the dead letters of the handlers that are no longer stored as such, without a replay.

    What is stored as processed, and no handler processed, is a notice.
    """
    require_held(sources.prometheus, HANDLERS_JOB, since, until)
    dead, processed = (
        _count(sources, RESULTS_OF_HANDLERS % results, since, until) for results in (DEAD_LETTER, PROCESSED)
    )
    earlier, row = (
        read_row(sources.session, "golive/count_dead_letters", {"from": first, "to": until}) or {}
        for first in (since - BEFORE_WINDOW, since)
    )
    unseen = int(row["processed"]) - processed
    notice = Notice(f"{unseen} lead được lưu là đã xử lý mà không handler nào đã xử lý",
                    f"{unseen} leads are stored as processed that no handler processed")  # fmt: skip
    details = f"the handlers counted {dead:,}, {earlier['explained']:,} are stored or were replayed"
    return Measurement(
        float(max(0, dead - int(earlier["explained"]))), details=details,
        notices=(notice,) if unseen > max(MIN_UNSEEN, UNSEEN_SHARE * processed) else (),
    )  # fmt: skip


PROBES: Mapping[str, Callable[[Sources, datetime, datetime], Measurement]] = {
    probe.__name__: probe
    for probe in (
        changed_installation, scans_since_begin, ledger_differences, edge_differences,
        dead_letter_differences, insert_thousand_events,
    )
}  # fmt: skip
"""What measures for the source `command`, by the name that `query` of a criterion has."""
