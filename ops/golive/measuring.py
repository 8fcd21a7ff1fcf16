"""Measure criteria: ask each source, and say in words which one could not be asked."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import isfinite
from types import TracebackType
from typing import Any, Self

from leads.domain.errors import DatabaseUnavailable, IntegrationError
from ops.clients.db_session import QUERIES, DatabaseError, DbSession, LoginRefused, is_lost, open_session
from ops.clients.prometheus_api import PrometheusApi, PrometheusRefused
from ops.failures import CommandFailed, ExitCode
from ops.golive.criterion import WAVES, Criterion, Source, Window
from ops.golive.evidence import EvidenceError, read_evidence_file
from ops.golive.judgement import Measurement, Why
from ops.golive.records import Kind, Record, Records, RecordsError, newest

STATEMENT_TIMEOUT = "30s"
PRESENT = timedelta(minutes=15)
"""An evaluation at a time not longer ago than this is one of the present."""
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class SourceDown(CommandFailed):
    """A source cannot be asked; the text says why. It ends a command that cannot do without it."""

    exit_code = ExitCode.UNREACHABLE


class Sources:
    """The sources of one evaluation, opened when they are first asked. A context manager.

    A source that did not answer is not asked again in the same evaluation; one without an address is never.
    """

    def __init__(self, records: Records, database_url: str = "", prometheus_url: str = "") -> None:
        self.records = records
        self._database_url = database_url
        self._prometheus_url = prometheus_url
        self._open = ExitStack()
        self._down: dict[Source, str] = {}
        self._database: DbSession | None = None
        self._prometheus: PrometheusApi | None = None

    def database(self) -> DbSession:
        """Return a session that can only read, with a statement timeout. Raises SourceDown."""
        self._check(Source.SQL)
        if self._database is None:
            self._database = self._open_database()
        return self._database

    def prometheus(self) -> PrometheusApi:
        """Return the API of PROMETHEUS_URL. Raises SourceDown if it is not set or did not answer before."""
        self._check(Source.PROMQL)
        if self._prometheus is None:
            self._prometheus = self._open_prometheus()
        return self._prometheus

    def note(self, source: Source, error: Exception) -> None:
        """Note that a source cannot be asked again; one that only refused a question can."""
        is_refusal = isinstance(error, PrometheusRefused) or (
            isinstance(error, DatabaseError) and not is_lost(error)
        )
        if not is_refusal:
            self._down[source] = first_line(error)

    def _check(self, source: Source) -> None:
        if source in self._down:
            raise SourceDown(self._down[source])

    def _open_database(self) -> DbSession:
        if not self._database_url:
            raise SourceDown("DATABASE_URL is not set.")
        try:
            session = self._open.enter_context(open_session(self._database_url, "golive"))
            session.execute("SELECT set_config('statement_timeout', %s, false)", [STATEMENT_TIMEOUT])
            session.execute("SET default_transaction_read_only = on")
        except (DatabaseUnavailable, LoginRefused, DatabaseError) as error:
            raise SourceDown(f"The database does not answer: {first_line(error)}") from error
        return session

    def _open_prometheus(self) -> PrometheusApi:
        if not self._prometheus_url:
            raise SourceDown("PROMETHEUS_URL is not set.")
        return self._open.enter_context(PrometheusApi(self._prometheus_url))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


Probe = Callable[[Sources, Criterion], Measurement]
"""A measurement by a program, for the sources `engine` and `command`. Raises SourceDown."""


@dataclass(frozen=True, slots=True)
class Period:
    """The time that a measurement covers: from `start` (included) to `end` (excluded), both aware."""

    start: datetime
    end: datetime

    def expression(self, query: str) -> str:
        """Return a PromQL expression with the length of this time, at least a second."""
        return query.replace("$window", f"{max(1, int((self.end - self.start).total_seconds()))}s")


class WaveNotBegun(Exception):
    """The window begins with a wave that has no record of its beginning; the text names the wave."""


def period_of(criterion: Criterion, wave: str | None, at: datetime, records: tuple[Record, ...]) -> Period:
    """Return the window of a criterion up to `at`. Raises WaveNotBegun."""
    match criterion.window:
        case Window.NONE:
            return Period(LONG_AGO, at)
        case Window.DAY:
            return Period(at - timedelta(days=1), at)
        case Window.WAVE if wave:
            return Period(beginning(wave, at, records), at)
    return Period(beginning(WAVES[0], at, records), at)


def beginning(wave: str, at: datetime, records: tuple[Record, ...]) -> datetime:
    """Return when a wave began. Raises WaveNotBegun."""
    record = newest(records, Kind.BEGIN, wave, at)
    if record is None:
        raise WaveNotBegun(wave)
    return record.holds_at


def measure(
    criterion: Criterion, sources: Sources, records: tuple[Record, ...], at: datetime, wave: str | None,
    probes: Mapping[str, Probe],
) -> Measurement:  # fmt: skip
    """Return what the source says at `at`; a source that cannot be asked is part of the measurement."""
    try:
        if criterion.source in (Source.PERSON, Source.FILE):
            return _attested(criterion, sources.records, records, at)
        if not _can_be_asked(criterion, at):
            problem = f"Its source tells the present only, not {at:%Y-%m-%d %H:%M} UTC."
            return Measurement(why=Why.NO_DATA, problem=problem)
        period = period_of(criterion, wave, at, records)
        if criterion.source is Source.SQL:
            return _from_sql(criterion, sources.database(), period)
        if criterion.source is Source.PROMQL:
            return _from_prometheus(criterion, sources.prometheus(), period)
        return probes[criterion.query](sources, criterion)
    except WaveNotBegun as error:
        problem = f"Wave {error} has not begun: leads golive begin {error} --by NAME"
        return Measurement(why=Why.NO_DATA, problem=problem)
    except (SourceDown, DatabaseError, IntegrationError) as error:
        sources.note(criterion.source, error)
        return Measurement(why=Why.SOURCE_DOWN, problem=first_line(error))


def _can_be_asked(criterion: Criterion, at: datetime) -> bool:
    if datetime.now(UTC) - at <= PRESENT or criterion.source is Source.PROMQL:
        return True
    # A statement without the end of its window tells the state of now.
    return criterion.source is Source.SQL and b"%(to)s" in QUERIES[criterion.query]


def first_line(error: Exception) -> str:
    """Return the first line of an error: the others may quote rows."""
    return (str(error).splitlines() or [type(error).__name__])[0].strip()


def _from_sql(criterion: Criterion, session: DbSession, period: Period) -> Measurement:
    parameters = {"from": period.start, "to": period.end, **criterion.parameters}
    row = read_row(session, criterion.query, parameters)
    if row is None:
        return Measurement(why=Why.NO_DATA, problem="The statement returned no row.")
    value, total = row[criterion.value], _sum(row, criterion.samples)
    good, bad = _sum(row, criterion.good), _sum(row, criterion.bad)
    return Measurement(
        value=None if value is None else float(value),
        total=total,
        bad=total - good if total is not None and good is not None else bad,
        details=str(row.get("details") or ""),
        since=period.start,
        until=period.end,
    )


def read_row(session: DbSession, name: str, params: Mapping[str, object]) -> Mapping[str, Any] | None:
    """Run a statement for the window from `from` to `to` of the parameters; None if it returned no row.

    Raises DatabaseError.
    """
    return session.execute(QUERIES[name], params).fetchone()


def _sum(row: Mapping[str, Any], columns: tuple[str, ...]) -> int | None:
    return sum(int(row[name] or 0) for name in columns) if columns else None


def _from_prometheus(criterion: Criterion, prometheus: PrometheusApi, period: Period) -> Measurement:
    values = prometheus.query(period.expression(criterion.query), period.end)
    total = None
    if cases := criterion.parameters.get("samples"):
        counted = prometheus.query(period.expression(cases), period.end)
        total = int(counted[0]) if len(counted) == 1 and isfinite(counted[0]) else 0
    if len(values) != 1:
        return Measurement(why=Why.NO_DATA, problem=f"The query has {len(values)} series; it needs one.")
    return Measurement(value=values[0], total=total, since=period.start, until=period.end)


def _attested(criterion: Criterion, files: Records, records: tuple[Record, ...], at: datetime) -> Measurement:
    record = newest(records, Kind.ATTEST, criterion.id, at)
    if record is None:
        problem = f"Not attested yet: leads golive attest {criterion.id}"
        return Measurement(why=Why.NO_DATA, problem=problem)
    stated = record.statement
    details = f"by {stated.by}, {stated.at:%Y-%m-%d}"
    if criterion.source is Source.PERSON:
        return Measurement(stated.value, total=stated.cases, measured_at=stated.at, details=details)
    try:
        found = read_evidence_file(criterion, files.read_evidence(record.evidence[0]))
    except (RecordsError, EvidenceError) as error:
        return Measurement(why=Why.NO_DATA, problem=str(error))
    begun = newest(records, Kind.BEGIN, WAVES[0], at)
    if criterion.query == "baseline" and begun and found.until and found.until >= begun.holds_at:
        return Measurement(why=Why.NO_DATA, problem=f"It has tickets from after {WAVES[0]} began.")
    return replace(
        found,
        measured_at=found.measured_at or stated.at,
        details=", ".join(filter(None, [details, found.details])),
    )
