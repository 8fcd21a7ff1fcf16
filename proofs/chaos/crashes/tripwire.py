"""Counts the round trips of a run, and says at which of them a fault strikes."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from proofs.chaos.crashes.points import Moment, Point, Trip


async def _no_process() -> None:
    raise RuntimeError("no process is named for this kind of round trip")


@dataclass
class Tripwire:
    """`traces[0]` are the round trips before the first strike, `traces[1]` those after it, and so on."""

    targets: Sequence[Point] = ()
    kill: Callable[[], Awaitable[None]] = _no_process
    """Kills the process that makes the round trips with SIGKILL, and returns when it is gone."""
    struck: list[Point] = field(default_factory=list)
    traces: list[list[Trip]] = field(default_factory=lambda: [[]])
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _is_counting: bool = False

    def start(self) -> None:
        """Count from now on."""
        self._is_counting = True

    def stop(self) -> None:
        """Count no more, unless a fault has struck: what follows it is traced until the run is at rest."""
        self._is_counting = bool(self.struck)

    def end(self) -> None:
        """Count no more."""
        self._is_counting = False

    def reached(self, kind: str, label: str) -> Moment | None:
        """Note a round trip; return the moment of it at which the fault strikes, if it does."""
        if not self._is_counting:
            return None
        self._counts[kind, label] += 1
        trip = Trip(kind, label, self._counts[kind, label])
        self.traces[-1].append(trip)
        if len(self.struck) == len(self.targets) or self.targets[len(self.struck)].trip != trip:
            return None
        point = self.targets[len(self.struck)]
        self.struck.append(point)
        self.traces.append([])
        self._counts.clear()
        return point.moment
