"""Answer `GET /metrics`: with what the process counts, and with figures that are read from the database.

Nothing here fails a scrape. A figure that cannot be read keeps its samples for a while and is then left out;
`pancake_sql_last_success_timestamp_seconds` says how old it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from leads.adapters.batcher import end_tasks
from leads.adapters.clock import Clock
from leads.adapters.database import Database, Params, Reader, Row, StatementError
from leads.adapters.logs import LOGGER, describe
from leads.adapters.metrics import BREAKER, Family, Metrics, Sample
from leads.adapters.pancake_api import PancakeApi
from leads.domain.errors import Contended, DatabaseUnavailable
from leads.domain.visible_text import read_texts
from leads.services.cron_work import CRON_PERIOD_SECONDS
from leads.services.readiness import Readiness

ANSWER_WITHIN_SECONDS = 1.0
"""A reading that takes longer goes on, and is shown by the next scrape. So are the slow figures always."""
Pace = Literal["fast", "slow"]
"""How old a figure may be: what grows with the traffic of an hour or a day is read less often."""
MAX_AGE_SECONDS: dict[Pace, float] = {"fast": 5.0, "slow": 60.0}
"""How long the samples of a statement are used before it runs again."""
WITHDRAWN_AFTER_SECONDS: dict[Pace, float] = {"fast": 60.0, "slow": 300.0}
"""How long samples are shown at most while their statement fails."""
RETRY_SECONDS = 60.0
"""When a statement that failed runs again: one that takes too long must not run at each scrape."""

Source = Callable[[], Awaitable[object]]


class Scrape:
    """Answers scrapes; each source is read by one task at a time, however many scrapes there are."""

    def __init__(
        self,
        db: Database,
        metadata_db: Database,
        readiness: Readiness,
        pancake: PancakeApi,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._metrics = metrics
        self._pancake = pancake
        fast = SqlMetrics("fast", db, metadata_db, metrics, clock)
        slow = SqlMetrics("slow", db, metadata_db, metrics, clock)
        self.sql = (fast, slow)
        self._readiness = readiness
        self._reading: dict[Source, asyncio.Task[None]] = {}
        self.answer_within_seconds = ANSWER_WITHIN_SECONDS

    async def exposition(self) -> bytes:
        """Return the text for Prometheus within a second, in every state of database and Hasura."""
        fast, slow = self.sql
        self._start(slow.refresh)
        awaited = [self._start(self._readiness.state), self._start(fast.refresh)]
        await asyncio.wait(awaited, timeout=self.answer_within_seconds)
        for sql in self.sql:
            sql.withdraw_old()
        for host, opened, answered in self._pancake.breakers.times():
            self._metrics.breaker_open_since.labels(BREAKER, host).set(opened)
            self._metrics.breaker_last_success.labels(BREAKER, host).set(answered)
        return self._metrics.exposition()

    def _start(self, source: Source) -> asyncio.Task[None]:
        """Read a source, if it is not being read already."""
        if source not in self._reading:
            self._reading[source] = asyncio.create_task(_read(source))
            self._reading[source].add_done_callback(lambda _: self._reading.pop(source, None))
        return self._reading[source]

    async def settle(self) -> None:
        """Wait for everything that is being read."""
        await asyncio.gather(*self._reading.values())

    async def close(self) -> None:
        """End what is being read."""
        await end_tasks(self._reading.values(), 0)


async def _read(source: Source) -> None:
    try:
        await source()
    except Exception as error:  # noqa: BLE001 - a scrape shows the rest; the trace is logged
        LOGGER.error("metrics not read", exc_info=error)


@dataclass(slots=True)
class _Reading:
    """When a statement was read last, and when it is due, both in seconds of the event loop."""

    read_at: float | None = None
    due_at: float = 0.0
    is_failing: bool = False


class SqlMetrics:
    """The figures of one pace. `refresh` runs once at a time: see `Scrape`."""

    def __init__(
        self, pace: Pace, db: Database, metadata_db: Database, metrics: Metrics, clock: Clock
    ) -> None:
        self._db = db
        self._metadata_db = metadata_db
        self._metrics = metrics
        self._clock = clock
        self.max_age_seconds = MAX_AGE_SECONDS[pace]
        self._withdrawn_after_seconds = WITHDRAWN_AFTER_SECONDS[pace]
        self._readings = {figure: _Reading() for figure in FIGURES if figure.pace == pace}
        for figure in self._readings:
            metrics.sql_last_success.labels(figure.name)

    async def refresh(self) -> None:
        """Read the figures that are due, in one session if both databases are one."""
        now = asyncio.get_running_loop().time()
        due = [figure for figure, reading in self._readings.items() if reading.due_at <= now]
        for db in dict.fromkeys((self._db, self._metadata_db)):
            of_db = [each for each in due if db is (self._metadata_db if each.of_engine else self._db)]
            await self._read(db, of_db)

    async def _read(self, db: Database, figures: Sequence["Figure"]) -> None:
        if not figures:
            return
        left = list(figures)
        try:
            async with db.reader() as reader:
                while left:
                    await self._read_one(reader, left[0])
                    del left[0]
        except DatabaseUnavailable as error:
            for figure in left:
                self._note_failure(figure, error, self.max_age_seconds)

    async def _read_one(self, reader: Reader, figure: "Figure") -> None:
        """Read the figures of a statement. Raises DatabaseUnavailable: the session is lost."""
        started = asyncio.get_running_loop().time()
        now = self._clock.now()
        try:
            rows = await reader.fetch_all(figure.statement, figure.params_at(now))
        except (Contended, StatementError) as error:
            self._note_failure(figure, error, RETRY_SECONDS)
            return
        read_at = asyncio.get_running_loop().time()
        reading = self._readings[figure]
        reading.read_at, reading.due_at, reading.is_failing = read_at, read_at + self.max_age_seconds, False
        self._metrics.sql_series.put(figure.name, figure.samples(rows))
        self._metrics.sql_last_success.labels(figure.name).set(now.timestamp())
        self._metrics.sql_seconds.labels(figure.name).set(read_at - started)

    def _note_failure(self, figure: "Figure", error: Exception, retry_seconds: float) -> None:
        """Log the first failure in a row: the metric shows how long it lasts."""
        reading = self._readings[figure]
        reading.due_at = asyncio.get_running_loop().time() + retry_seconds
        if not reading.is_failing:
            reading.is_failing = True
            LOGGER.warning("figure not read", extra={"fields": {"query": figure.name, **describe(error)}})

    def withdraw_old(self) -> None:
        """Remove the samples that are too old to be shown."""
        oldest = asyncio.get_running_loop().time() - self._withdrawn_after_seconds
        for figure, reading in self._readings.items():
            if reading.read_at is not None and reading.read_at < oldest:
                self._metrics.sql_series.withdraw(figure.name)


WINDOWS = {"1d": timedelta(days=1), "1h": timedelta(hours=1)}
"""Of the key figures, by their label; each ends now."""


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A statement that gives the samples of some series. `use` tells the uses of one apart.

    That of a key figure is a key of WINDOWS. `of_engine`: it runs in Hasura's metadata database.
    """

    statement: str
    pace: Pace
    params: Params = field(default_factory=dict)
    of_engine: bool = False
    use: str = ""

    @property
    def name(self) -> str:
        """The label `query` of its metrics."""
        return f"{self.statement} of {self.use}" if self.use else self.statement

    @property
    def is_of_window(self) -> bool:
        return self.use in WINDOWS

    def params_at(self, now: datetime) -> Params:
        if self.is_of_window:
            return {"from": now - WINDOWS[self.use], "to": now}
        return {"now": now, **self.params}

    def samples(self, rows: Sequence[Row]) -> list[Sample]:
        """Return the samples of all its series."""
        of_window = [{**row, "window": self.use} for row in rows]
        return [s for series in SERIES if self in series.figures for s in series.samples(of_window)]


@dataclass(frozen=True, slots=True)
class Series(Family):
    """A gauge that is read from the database; `columns` of the rows of `figures` hold its values.

    Of several columns each has its value of the last label; the row has the other labels. A column that is
    null gives no sample, but 0 if it ends in `_at`.
    """

    columns: str | Mapping[str, str]
    figures: tuple[Figure, ...]
    factor: int = 1

    def samples(self, rows: Sequence[Row]) -> Iterator[Sample]:
        of_row = self.labels if isinstance(self.columns, str) else self.labels[:-1]
        columns = {self.columns: None} if isinstance(self.columns, str) else self.columns
        for row in rows:
            labels = tuple(str(row[name]) for name in of_row)
            for column, label in columns.items():
                value = row[column]
                if value is None and not column.endswith("_at"):
                    continue
                yield self.name, labels if label is None else (*labels, label), _number(value) * self.factor


def _number(value: datetime | float | None) -> float:
    if value is None:
        return 0.0
    return value.timestamp() if isinstance(value, datetime) else float(value)


EVENT_LOGS = ("event_log", "event_invocation_logs")
CRON_LOGS = ("hdb_cron_events", "hdb_cron_event_invocation_logs")

_CRONS: Params = {"names": list(CRON_PERIOD_SECONDS)}
_FIGURES: Mapping[str, tuple[Figure, ...]] = {
    "events": (Figure("metrics/count_waiting", "fast"), Figure("metrics/count_held", "slow")),
    "webhook_hours": (Figure("metrics/count_webhook_hours", "slow"),),
    "unsent": (Figure("metrics/count_unsent", "fast"),),
    "unassigned": (Figure("late_owners/count_unassigned", "fast", {"most": None}),),
    "connections": (Figure("metrics/list_connections", "fast"),),
    "switches": (Figure("metrics/load_switches", "fast"),),
    "holiday": (Figure("metrics/load_holiday", "slow"),),
    "engine_events": (
        Figure("metrics/count_engine_events", "fast"),
        Figure("metrics/count_failed_engine_events", "slow"),
    ),
    "log_sizes": (
        Figure("metrics/load_log_sizes", "slow", {"logs": list(EVENT_LOGS)}),
        Figure("metrics/load_log_sizes", "slow", {"logs": list(CRON_LOGS)}, of_engine=True, use="the crons"),
    ),
    "cron_ticks": (Figure("metrics/count_cron_ticks", "fast", _CRONS, of_engine=True),),
    "cron_runs": (Figure("metrics/list_cron_runs", "fast", _CRONS),),
    "latency": tuple(Figure("kpi/load_latency", "slow", use=window) for window in WINDOWS),
    "success": tuple(Figure("kpi/load_success", "slow", use=window) for window in WINDOWS),
    "auto_assign": (Figure("kpi/load_auto_assign", "slow", use="1d"),),
    "intervention": (Figure("kpi/load_intervention", "slow", use="1d"),),
    "response": (Figure("kpi/load_response", "slow", use="1d"),),
    "zero_miss": (Figure("kpi/load_zero_miss", "slow", use="1d"),),
    "recent": (Figure("metrics/count_recent", "slow"),),
    "rows_of_counters": (Figure("metrics/count_rows_of_counters", "slow", _CRONS),),
    "source_events": (Figure("metrics/count_source_events", "slow"),),
    "last_leads": (Figure("metrics/load_last_leads", "slow"),),
    "connection_statuses": (Figure("metrics/list_connection_statuses", "fast"),),
}
SERIES: tuple[Series, ...] = tuple(
    Series(name, **{**each, "labels": tuple(each["labels"]), "figures": _FIGURES[each["figures"]]})
    for name, each in read_texts("series.toml", __package__).items()
)
"""All of them."""
FIGURES = tuple(dict.fromkeys(figure for series in SERIES for figure in series.figures))
