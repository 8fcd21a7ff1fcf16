"""What Prometheus would have scraped in a clean week and in each incident, as OpenMetrics."""

from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from proofs.incidents.catalogue import INCIDENTS
from proofs.incidents.replay.model import MINUTE, Conditions, Minute, Model, Timeline, arrivals, during
from proofs.incidents.replay.series import (
    HOUR,
    WEEKS_BEFORE,
    Edge,
    Figures,
    Handlers,
    Sample,
    alertmanager,
    breaker,
    checks,
    periods,
    prometheus,
)

HANDLERS = ("10.0.0.1:9146", "10.0.0.2:9146")
EDGE = "10.0.0.3:9145"
WEEK_MINUTES = 10_080
SPARSE_MINUTES = 4
"""Before `first_minute` counters of leads have a sample every so many: Prometheus looks back five minutes."""
LONG_WINDOWS = "pancake_events_total"
"""What rules read over days."""


@dataclass(frozen=True)
class Scenario:
    """A time to be recorded.

    It has `minutes` from `start` on, of which those from `first_minute` on are recorded in full, and what
    rules read over days in all of them. A process restarts at each minute of `restarts`, as in a deployment.
    """

    name: str
    start: datetime
    minutes: int
    leads_per_hour: float
    timeline: Timeline
    first_minute: int = 0
    seed: int = 1
    restarts: tuple[int, ...] = ()

    @property
    def recorded_time(self) -> tuple[datetime, datetime]:
        """The first and the last minute that is recorded in full."""
        return self.start + self.first_minute * MINUTE, self.start + (self.minutes - 1) * MINUTE

    def steps(self, seconds: float) -> list[float]:
        """Return the times at which rules are evaluated, in seconds since 1970."""
        since, until = (moment.timestamp() for moment in self.recorded_time)
        return [since + number * seconds for number in range(int((until - since) / seconds) + 1)]


@dataclass
class Series:
    """The samples of a series: minutes since the start, and values."""

    minutes: "array[int]" = field(default_factory=lambda: array("l"))
    values: "array[float]" = field(default_factory=lambda: array("d"))


class Recording:
    """The series of a scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.series: dict[tuple[str, str], Series] = {}
        self._record()

    def write(self, path: Path) -> None:
        """Write OpenMetrics, without types: the rules need none."""
        start = int(self.scenario.start.timestamp())
        with path.open("w") as text:
            for (name, labels), series in sorted(self.series.items()):
                for minute, value in zip(series.minutes, series.values, strict=True):
                    text.write(f"{name}{{{labels}}} {value} {start + 60 * minute}\n")
            text.write("# EOF\n")

    def _record(self) -> None:
        scenario = self.scenario
        start, count = scenario.start, scenario.minutes
        leads = arrivals(start, count, scenario.leads_per_hour, scenario.seed)
        before = [
            arrivals(start, count, scenario.leads_per_hour, seed)
            for seed in range(scenario.seed + 1, scenario.seed + 1 + WEEKS_BEFORE)
        ]
        model = Model(start, leads, scenario.seed)
        figures = Figures(start, model.stored, before)
        handlers = [Handlers(), Handlers()]
        edge = Edge()
        recent: deque[Minute] = deque(maxlen=HOUR)
        slow: list[Sample] = []
        for minute in range(count):
            now = scenario.timeline(minute)
            seen = model.step(minute, now)
            recent.append(seen)
            if minute in scenario.restarts:
                handlers[scenario.restarts.index(minute) % 2] = Handlers()
            _count(handlers, edge, seen, now)
            if minute >= scenario.first_minute:
                of_database = [*slow, *figures.fast(minute, seen, now), *periods()]
                self._scrape(minute, handlers, edge, now, of_database, seen)
                slow = list(figures.slow(minute, list(recent), now))  # shown by the next scrape
            elif minute % SPARSE_MINUTES == 0:
                self._scrape_long_windows(minute, handlers)

    def _scrape(
        self,
        minute: int,
        handlers: list[Handlers],
        edge: Edge,
        now: Conditions,
        of_database: Sequence[Sample],
        seen: Minute,
    ) -> None:
        engine = [*checks(now), *breaker(self.scenario.start.timestamp(), seen)]
        restarting = self.scenario.restarts.index(minute) % 2 if minute in self.scenario.restarts else None
        for number, (instance, process) in enumerate(zip(HANDLERS, handlers, strict=True)):
            is_up = now.handlers_up[number] and number != restarting
            self._put(minute, "pancake_handlers", instance, [("up", "", float(is_up))])
            if is_up:
                self._put(minute, "pancake_handlers", instance, process.samples())
                self._put(minute, "pancake_handlers", instance, of_database)
                self._put(minute, "pancake_handlers", instance, engine)
        self._put(minute, "pancake_edge", EDGE, [("up", "", 1.0)])
        self._put(minute, "pancake_edge", EDGE, edge.samples(seen.spooled))
        self._put(minute, "prometheus", "localhost:9090", [*prometheus(), ("up", "", 1.0)])
        self._put(minute, "alertmanager", "alertmanager:9093", [*alertmanager(), ("up", "", 1.0)])

    def _scrape_long_windows(self, minute: int, handlers: list[Handlers]) -> None:
        for instance, process in zip(HANDLERS, handlers, strict=True):
            found = [sample for sample in process.samples() if sample[0] == LONG_WINDOWS]
            self._put(minute, "pancake_handlers", instance, found)

    def _put(self, minute: int, job: str, instance: str, samples: Iterable[Sample]) -> None:
        target = f'job="{job}",instance="{instance}"'
        for name, labels, value in samples:
            key = name, f"{target},{labels}" if labels else target
            series = self.series.get(key) or self.series.setdefault(key, Series())
            series.minutes.append(minute)
            series.values.append(value)


def _count(handlers: list[Handlers], edge: Edge, seen: Minute, now: Conditions) -> None:
    serving = [process for process, is_up in zip(handlers, now.handlers_up, strict=True) if is_up]
    for number, process in enumerate(serving):
        process.count(seen, number, len(serving))
    edge.count(seen, now, strangers=1)


FIRST_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
BEFORE = 3 * 1440 + 120
"""Minutes: the longest window of a rule, and until 09:00 in Vietnam."""
RECORDED_BEFORE, RECORDED_AFTER, LONGEST_RECORDED = 90, 60, 120
"""Minutes that are recorded in full: before and after an incident, and of the incident its last ones."""
LEADS_PER_HOUR, FEW_LEADS_PER_HOUR = 300.0, 5.0
USUAL_LEADS_PER_HOUR = {"webhook_silent": FEW_LEADS_PER_HOUR}
"""Of the incidents that do not have LEADS_PER_HOUR: with as many the webhook soon counts as suspended."""


def incident(name: str, leads_per_hour: float | None = None) -> Scenario:
    """Return the recorded time of an incident, by default with its usual traffic.

    Those of two incidents do not overlap.
    """
    minutes, changes = INCIDENTS[name].minutes, INCIDENTS[name].changes
    return Scenario(
        name=name,
        start=FIRST_MONDAY + timedelta(weeks=1 + list(INCIDENTS).index(name)),
        minutes=BEFORE + minutes + RECORDED_AFTER,
        leads_per_hour=leads_per_hour or USUAL_LEADS_PER_HOUR.get(name, LEADS_PER_HOUR),
        timeline=during(BEFORE, BEFORE + minutes, **changes),
        first_minute=BEFORE + max(0, minutes - LONGEST_RECORDED) - RECORDED_BEFORE,
        seed=list(INCIDENTS).index(name),
    )


def clean(leads_per_hour: float, minutes: int = WEEK_MINUTES, seed: int = 1) -> Scenario:
    """Return a time with what is normal: a deployment, a short fault of Pancake, leads found late."""
    return Scenario(
        name=f"clean at {leads_per_hour:g} leads an hour",
        start=FIRST_MONDAY,
        minutes=minutes,
        leads_per_hour=leads_per_hour,
        timeline=_normal_days(),
        seed=seed,
        restarts=(600, 602),
    )


def _normal_days() -> Timeline:
    hiccups: dict[range, Conditions] = {
        range(700, 706): Conditions(pancake_answers=False),
        range(2 * 1440 + 300, 2 * 1440 + 330): Conditions(kill_switch=True),
    }
    late = Conditions(found_missing=2)

    def timeline(minute: int) -> Conditions:
        for span, changed in hiccups.items():
            if minute in span:
                return changed
        return late if 1440 <= minute < 2 * 1440 else Conditions()

    return timeline
