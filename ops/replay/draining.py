"""Call the action until no row is held, and add up the calls."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.progress import Progress

from ops.failures import CommandFailed
from ops.replay.action import ReplayAction

SUMS = ("replayed", "changed", "returned", "arrived")


class Drain:
    """The report of a drain: the sums of its calls, as far as it came.

    matched + arrived + returned = replayed + changed + held.
    """

    def __init__(self) -> None:
        self.report: dict[str, Any] = {}
        self._sums: Counter[str] = Counter()
        self._held: int | None = None
        self._ids: list[int] = []

    def run(self, action: ReplayAction, request: Mapping[str, Any], progress: Progress) -> None:
        """Call the action until the request finds no row. Raises CommandFailed when a call moves nothing."""
        with progress:
            task = progress.add_task("replayed", total=None)
            while self._held != 0:
                call = action.call(request)
                self._add(call)
                replayed = self.report["replayed"]
                progress.update(task, completed=replayed, total=replayed + call["held"])
                if call["held"] and not call["replayed"]:
                    raise CommandFailed(
                        f"{call['held']} rows are held and the last call replayed none of them. "
                        "Is the kill switch on? Turn it off, then run this again."
                    )

    def _add(self, call: dict[str, Any]) -> None:
        """Add a call. What it finds beyond the rows that the call before left has arrived in between."""
        self._sums["matched" if self._held is None else "arrived"] += call["matched"] - (self._held or 0)
        self._sums.update({name: call[name] for name in SUMS})
        self._held = call["held"]
        self._ids += call["replayed_ids"]
        self.report = call | self._sums | {"replayed_ids": self._ids}
