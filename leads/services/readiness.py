"""Watch whether Hasura still has what we need: others may replace its metadata.

The checks are cheap and change nothing: two requests to Hasura and one statement, at most every 15 seconds in
a process, however often it is asked.
"""

import asyncio
from collections.abc import Mapping
from math import nan

from leads.adapters.database import Database
from leads.adapters.graphql import GraphqlClient
from leads.adapters.metrics import Metrics
from leads.domain.errors import Contended, DatabaseUnavailable

MAX_AGE_SECONDS = 15.0
TIMEOUT_SECONDS = 2.0

State = Mapping[str, bool | None]
"""By the name of a check: whether it succeeded; None if that cannot be said."""


class Readiness:
    """The last state, of all callers of a process; docs/observability.md explains the checks."""

    def __init__(
        self,
        db: Database,
        graphql: GraphqlClient,
        metrics: Metrics,
        *,
        max_age_seconds: float = MAX_AGE_SECONDS,
    ) -> None:
        self._db = db
        self._graphql = graphql
        self._metrics = metrics
        self._max_age_seconds = max_age_seconds
        self._looking = asyncio.Lock()
        self._state: State = {}
        self._looked_at = -nan

    async def state(self) -> State:
        """Return the state, at most 15 s old, and set its metric."""
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if not now - self._looked_at < self._max_age_seconds:
                database, engine = await asyncio.gather(self._look_at_database(), self._graphql.probe())
                self._state = {**database, **engine}
                self._looked_at = now
            for check, succeeded in self._state.items():
                value = nan if succeeded is None else float(succeeded)
                self._metrics.engine_check.labels(check).set(value)
            return self._state

    async def _look_at_database(self) -> State:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                row = await self._db.fetch_one("database/find_triggers", {})
        except (DatabaseUnavailable, Contended, TimeoutError):
            return {"database": False, "writable": None, "event_trigger": None}
        return {
            "database": True,
            "writable": bool(row and row["is_writable"]),
            "event_trigger": bool(row and row["has_triggers"]),
        }
