"""The crash points: a round trip of a scenario and a moment of it; their files, and what counts trips."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

POINTS_FILE = Path(__file__).parent / "crash_points.txt"
FOUND_FILE = Path(__file__).parent / "found.txt"
"""The points at which a run failed once."""
HEADER = """\
# The round trips of each scenario, in order: scenario, kind, number among equal ones, label.
# Written by `scripts/chaos crash_points --write`; the run fails if a trace finds other ones.
"""


class Moment(StrEnum):
    """When a fault strikes.

    | kind | before | after | lost |
    |---|---|---|---|
    | sql, call | killed instead of sending the request | killed when the answer came | answer lost |
    | answer | killed when it has answered, before the caller has it | killed after that | answer lost |
    | event | Hasura killed when it has locked the event | killed when the handler has answered | |
    | forward | the edge killed instead of sending on | killed when the answer came | answer lost |

    With `lost` the connection is cut instead of the answer, and no process is killed.
    """

    BEFORE = "before"
    AFTER = "after"
    LOST = "lost"


MOMENTS = {kind: tuple(Moment) for kind in ("sql", "call", "answer", "forward")} | {
    "event": (Moment.BEFORE, Moment.AFTER)
}


@dataclass(frozen=True, slots=True)
class Trip:
    """A round trip: its kind, its label, and its number among equal ones of a run, counted from 1."""

    kind: str
    label: str
    number: int


@dataclass(frozen=True, slots=True)
class Point:
    """Where and when a fault strikes."""

    scenario: str
    trip: Trip
    moment: Moment

    def __str__(self) -> str:
        trip = self.trip
        return f"{self.scenario}/{trip.kind}/{trip.label}#{trip.number}/{self.moment}"


Trips = dict[str, list[Trip]]
"""The round trips of each scenario, in order."""


def points_of(scenario: str, trips: Iterable[Trip]) -> list[Point]:
    """Return every moment of every round trip."""
    return [Point(scenario, trip, moment) for trip in trips for moment in MOMENTS[trip.kind]]


def read_points(path: Path = POINTS_FILE) -> Trips:
    """Read the file. Raises ValueError with the number of a line that is not a round trip."""
    trips: Trips = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("#") or not line:
            continue
        fields = line.split("\t")
        if len(fields) != 4 or fields[1] not in MOMENTS or not fields[2].isdecimal():
            raise ValueError(f"{path.name}, line {number}: not `scenario, kind, number, label`: {line}")
        scenario, kind, count, label = fields
        trips.setdefault(scenario, []).append(Trip(kind, label, int(count)))
    return trips


def read_found(path: Path = FOUND_FILE) -> list[str]:
    """Return the points at which a run failed once, as text."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def write_points(trips: Trips, path: Path = POINTS_FILE) -> None:
    """Write the file."""
    lines = [
        f"{scenario}\t{trip.kind}\t{trip.number}\t{trip.label}\n"
        for scenario, found in trips.items()
        for trip in found
    ]
    path.write_text(HEADER + "".join(lines))


def differences(listed: Trips, traced: Trips) -> list[str]:
    """Return a line for each round trip that only the file or only the trace has."""
    lines = []
    for scenario in {**listed, **traced}:
        ours, theirs = listed.get(scenario, []), traced.get(scenario, [])
        lines += [f"{scenario}: not in the file: {trip}" for trip in theirs if trip not in ours]
        lines += [f"{scenario}: not in the trace: {trip}" for trip in ours if trip not in theirs]
    return lines


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
