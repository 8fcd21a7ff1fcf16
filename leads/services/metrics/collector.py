"""Read the figures of the database for `GET /metrics`: each at most every few seconds, in one session.

Nothing here fails a scrape. A figure that cannot be read keeps its samples for a while and is then left out;
`pancake_sql_last_success_timestamp_seconds` says how old it is.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from leads.adapters.clock import Clock
from leads.adapters.database import Database, Reader, StatementError
from leads.adapters.logs import LOGGER, describe
from leads.adapters.metrics import Metrics
from leads.domain.errors import Contended, DatabaseUnavailable
from leads.services.metrics.figures import FIGURES, Figure, Pace
from leads.services.metrics.key_figures import KEY_FIGURES, WindowFigure

MAX_AGE_SECONDS: dict[Pace, float] = {"fast": 5.0, "slow": 60.0}
"""How long the samples of a statement are used before it runs again."""
WITHDRAWN_AFTER_SECONDS: dict[Pace, float] = {"fast": 60.0, "slow": 300.0}
"""How long samples are shown at most while their statement fails."""
RETRY_SECONDS = 60.0
"""When a statement that failed runs again: one that takes too long must not run at each scrape."""


@dataclass(slots=True)
class _Reading:
    """When a figure was read last, and when it is due, both in seconds of the event loop."""

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
        self._figures = _figures(pace)
        self._readings = {figure.query: _Reading() for figure in self._figures}
        for query in self._readings:
            metrics.sql_last_success.labels(query)

    async def refresh(self) -> None:
        """Read the figures that are due."""
        now = asyncio.get_running_loop().time()
        due = [figure for figure in self._figures if self._readings[figure.query].due_at <= now]
        # One session for both if they are one database.
        for db in dict.fromkeys((self._db, self._metadata_db)):
            await self._read(db, [figure for figure in due if self._db_of(figure) is db])

    def forget(self) -> None:
        """Let the next refresh read every figure, of any age. For tests."""
        for reading in self._readings.values():
            reading.due_at = 0.0

    def withdraw_old(self) -> None:
        """Remove the samples that are too old to be shown."""
        oldest = asyncio.get_running_loop().time() - self._withdrawn_after_seconds
        for query, reading in self._readings.items():
            if reading.read_at is not None and reading.read_at < oldest:
                self._metrics.sql_series.withdraw(query)

    def _db_of(self, figure: Figure | WindowFigure) -> Database:
        return self._metadata_db if isinstance(figure, Figure) and figure.of_engine else self._db

    async def _read(self, db: Database, figures: Sequence[Figure | WindowFigure]) -> None:
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
                self._note_failure(figure.query, error, self.max_age_seconds)

    async def _read_one(self, reader: Reader, figure: Figure | WindowFigure) -> None:
        """Read a figure. Raises DatabaseUnavailable: the session is lost."""
        started = asyncio.get_running_loop().time()
        now = self._clock.now()
        try:
            if isinstance(figure, WindowFigure):
                samples = await figure.samples(reader, now)
            else:
                rows = await reader.fetch_all(figure.statement or figure.query, {"now": now, **figure.params})
                samples = figure.samples(rows)
        except (Contended, StatementError) as error:
            self._note_failure(figure.query, error, RETRY_SECONDS)
            return
        read_at = asyncio.get_running_loop().time()
        reading = self._readings[figure.query]
        reading.read_at, reading.due_at, reading.is_failing = read_at, read_at + self.max_age_seconds, False
        self._metrics.sql_series.put(figure.query, samples)
        self._metrics.sql_last_success.labels(figure.query).set(now.timestamp())
        self._metrics.sql_seconds.labels(figure.query).set(read_at - started)

    def _note_failure(self, query: str, error: Exception, retry_seconds: float) -> None:
        """Log the first failure in a row: the metric shows how long it lasts."""
        reading = self._readings[query]
        reading.due_at = asyncio.get_running_loop().time() + retry_seconds
        if not reading.is_failing:
            reading.is_failing = True
            LOGGER.warning("figure not read", extra={"fields": {"query": query, **describe(error)}})


def _figures(pace: Pace) -> tuple[Figure | WindowFigure, ...]:
    of_pace = tuple(figure for figure in FIGURES if figure.pace == pace)
    return (*of_pace, *KEY_FIGURES) if pace == "slow" else of_pace
