"""The results of replayed events: wait a while until they are processed, then load them."""

from collections.abc import Sequence
from dataclasses import dataclass

from leads.adapters.clock import Clock
from leads.adapters.database import Database
from leads.domain.replay_results import ReplayedEvent, ReplayResults, summarize

MAX_WAIT_SECONDS = 10.0
"""Hasura waits 60 s for the action, and the replay itself takes up to 20 s."""
POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Waiting:
    """The row of replay_results/count_waiting."""

    events: int
    processing_paused: bool


async def wait_for_results(db: Database, clock: Clock, ids: Sequence[int], *, wait: bool) -> bool:
    """Wait until no event waits, a pause is found or the time is up; return whether processing is paused."""
    deadline = clock.monotonic() + (MAX_WAIT_SECONDS if wait else 0)
    while True:
        (found,) = await db.fetch_all("replay_results/count_waiting", {"ids": list(ids)}, Waiting)
        if not found.events or found.processing_paused or clock.monotonic() >= deadline:
            return found.processing_paused
        await clock.sleep(POLL_SECONDS)


async def load_results(db: Database, ids: Sequence[int]) -> ReplayResults:
    """Load and count the results of replayed events."""
    return summarize(await db.fetch_all("replay_results/load_events", {"ids": list(ids)}, ReplayedEvent))
