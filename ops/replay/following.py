"""Follow replayed events until they are at rest, and count what they became."""

import time
from collections.abc import Sequence

from rich.progress import Progress

from leads.domain.replay import ReplayedEvent, ReplayResults, summarize
from ops.replay.action import ReplayAction

POLL_SECONDS = 1.0
MAX_SECONDS_WITHOUT_PROGRESS = 60.0
MAX_EVENTS_PER_QUERY = 1000


class FollowedEvents:
    """The events of a replay, as far as their states are known."""

    def __init__(self, ids: Sequence[int], *, processing_paused: bool) -> None:
        self.processing_paused = processing_paused
        self._ids = ids
        self._known: dict[int, ReplayedEvent] = {}

    def waiting(self) -> list[int]:
        """Return the ids of the events that are not at rest, as far as is known."""
        return [id_ for id_ in self._ids if id_ not in self._known or self._known[id_].is_waiting]

    def load(self, action: ReplayAction) -> None:
        """Ask for the states of the events that are not at rest."""
        waiting = self.waiting()
        for start in range(0, len(waiting), MAX_EVENTS_PER_QUERY):
            events, self.processing_paused = action.load_events(waiting[start : start + MAX_EVENTS_PER_QUERY])
            self._known |= {event.id: event for event in events}

    def results(self) -> ReplayResults:
        """Count the results. An event whose state was not loaded counts as waiting."""
        results = summarize(self._known.values())
        results["waiting"] = len(self.waiting())
        return results


def follow(action: ReplayAction, events: FollowedEvents, progress: Progress) -> None:
    """Ask for the events until all are at rest, a pause is found, or too long none came to rest."""
    total = waiting = len(events.waiting())
    with progress:
        task = progress.add_task("processed", total=total)
        deadline = time.monotonic() + MAX_SECONDS_WITHOUT_PROGRESS
        while waiting:
            events.load(action)
            before, waiting = waiting, len(events.waiting())
            progress.update(task, completed=total - waiting)
            if waiting < before:
                deadline = time.monotonic() + MAX_SECONDS_WITHOUT_PROGRESS
            if not waiting or events.processing_paused or time.monotonic() > deadline:
                return
            time.sleep(POLL_SECONDS)
