"""What Prometheus would have scraped in a clean week and in each incident, as OpenMetrics; what it raises.

A real Prometheus loads the series and evaluates the rules of deploy/prometheus over them. From the values of
an expression to the alerts that fire, `apply_for` does what Prometheus does.
"""

from array import array
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from proofs.incidents import ALL
from proofs.incidents.model import (
    MINUTE,
    Conditions,
    Minute,
    Model,
    Timeline,
    Traffic,
    arrivals,
    during,
    usual,
)
from proofs.incidents.series import (
    ALERTMANAGER,
    DAY,
    HOUR,
    PROMETHEUS,
    Edge,
    Handlers,
    Sample,
    of_looks,
    of_neighbour,
    of_states,
    of_traffic,
)
from sandbox.monitoring.rules import Alert, Inhibition, Labels, alerts, group_of, rule_files
from sandbox.monitoring.servers import Queries, prometheus, run_promtool
from sandbox.processes import Processes, Service

HANDLERS = ("10.0.0.1:9146", "10.0.0.2:9146")
EDGE = "10.0.0.3:9145"
WEEK_MINUTES = 10_080
SPARSE_MINUTES = 4
"""Before `first_minute` counters of leads have a sample every so many: Prometheus looks back five minutes."""
WEEKS_BEFORE = 4
NEIGHBOUR_LEADS_PER_HOUR = 7.0
"""Of the second connection."""
UP = ("up", "", 1.0)
LONG_WINDOWS = "pancake_events_total"
"""What rules read over days."""


@dataclass(frozen=True)
class Scenario:
    """A time to be recorded.

    It has `minutes` from `start` on, of which those from `first_minute` on are recorded in full, and what
    rules read over days in all of them. A process restarts at each minute of `restarts`, as in a deployment.
    The series of connections are those of the first one.
    """

    name: str
    start: datetime
    minutes: int
    leads_per_hour: float
    timeline: Timeline
    first_minute: int = 0
    seed: int = 1
    restarts: tuple[int, ...] = ()
    connections: int = 5
    traffic: Traffic = usual

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
        leads = arrivals(start, count, scenario.leads_per_hour, scenario.seed, scenario.traffic)
        first, *weeks = (
            arrivals(start, count, NEIGHBOUR_LEADS_PER_HOUR, -seed, scenario.traffic if seed == 1 else usual)
            for seed in range(1, 2 + WEEKS_BEFORE)
        )
        neighbour = [
            number * scenario.timeline(minute).neighbour_delivers for minute, number in enumerate(first)
        ]
        before = [
            arrivals(start, count, scenario.leads_per_hour, seed)
            for seed in range(scenario.seed + 1, scenario.seed + 1 + WEEKS_BEFORE)
        ]
        model = Model(start, leads, scenario.seed, scenario.connections)
        handlers, edge = [Handlers(), Handlers()], Edge()
        recent: deque[Minute] = deque(maxlen=HOUR)
        slow: list[Sample] = []
        for minute in range(count):
            now = scenario.timeline(minute)
            seen = model.step(minute, now)
            recent.append(seen)
            at = start.timestamp() + minute * 60
            if minute in scenario.restarts:
                number = scenario.restarts.index(minute)
                handlers[number % 2] = Handlers(at, f"{number // 2}")
            if now.restarts_each_minute:
                handlers = [Handlers(at) for _ in handlers]
            if now.has_old_replica:
                handlers[0].commit = "b"
            serving = [process for process, is_up in zip(handlers, now.handlers_up, strict=True) if is_up]
            for number, process in enumerate(serving):
                process.count(seen, number, len(serving))
                if not now.secret_matches:
                    process.refuse_calls(2)
            edge.count(seen, now)
            if minute >= scenario.first_minute:
                figures = [*slow, *of_states(model, minute, now)] if now.database_up else []
                self._scrape_handlers(minute, handlers, now, [*figures, *of_looks(model, minute, now)])
                shown = [*edge.samples(), *edge.gauges(seen.spooled, now, at), UP]
                self._put(minute, "pancake_edge", EDGE, shown if now.edge_up else [("up", "", 0.0)])
                self._put(minute, "prometheus", "localhost:9090", [*PROMETHEUS, UP])
                self._put(minute, "alertmanager", "alertmanager:9093", [*ALERTMANAGER, UP])
                slow = [  # shown by the next scrape
                    *of_traffic(model, minute, recent, before, now),
                    *of_neighbour(minute, neighbour, weeks),
                ]
            elif minute % SPARSE_MINUTES == 0:
                for instance, process in zip(HANDLERS, handlers, strict=True):
                    found = [sample for sample in process.samples() if sample[0] == LONG_WINDOWS]
                    self._put(minute, "pancake_handlers", instance, found)

    def _scrape_handlers(
        self, minute: int, handlers: list[Handlers], now: Conditions, shared: Sequence[Sample]
    ) -> None:
        """`shared` are the samples that each process shows alike."""
        restarts = self.scenario.restarts
        restarting = restarts.index(minute) % 2 if minute in restarts else None
        for number, (instance, process) in enumerate(zip(HANDLERS, handlers, strict=True)):
            is_up = now.handlers_up[number] and number != restarting
            at = self.scenario.start.timestamp() + minute * 60
            own = [*process.samples(), *process.gauges(now, at)]
            found = [*own, *shared, UP] if is_up else [("up", "", 0.0)]
            self._put(minute, "pancake_handlers", instance, found)

    def _put(self, minute: int, job: str, instance: str, samples: Iterable[Sample]) -> None:
        target = f'job="{job}",instance="{instance}"'
        for name, labels, value in samples:
            key = name, f"{target},{labels}" if labels else target
            series = self.series.get(key) or self.series.setdefault(key, Series())
            series.minutes.append(minute)
            series.values.append(value)


FIRST_MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
BEFORE = 3 * 1440 + 120
"""Minutes: the longest window of a rule, and until 09:00 in Vietnam."""
RECORDED_BEFORE, RECORDED_AFTER = 90, 60
"""Minutes before and after an incident that are recorded in full, as it is."""
LEADS_PER_HOUR, FEW_LEADS_PER_HOUR = 300.0, 5.0
USUAL_LEADS_PER_HOUR = {"webhook_silent": FEW_LEADS_PER_HOUR}
"""Of the incidents that do not have LEADS_PER_HOUR: with as many the webhook soon counts as suspended."""


def incident(name: str) -> Scenario:
    """Return the recorded time of an incident with its usual traffic, in which nothing else happens.

    Those of two incidents do not overlap.
    """
    minutes = ALL[name].minutes
    return Scenario(
        name=name,
        start=FIRST_MONDAY + timedelta(weeks=1 + list(ALL).index(name)),
        minutes=BEFORE + minutes + RECORDED_AFTER,
        leads_per_hour=USUAL_LEADS_PER_HOUR.get(name, LEADS_PER_HOUR),
        timeline=during(BEFORE, BEFORE + minutes, **ALL[name].changes),
        first_minute=BEFORE - RECORDED_BEFORE,
        seed=list(ALL).index(name),
    )


WEEKS = 4
RESTARTED_AT = 3 * 60
"""A deployment a day, at ten in the morning in Vietnam."""
SUNDAY, HOLIDAYS, FLOOD = 6, range(14, 21), range(9 * DAY + 120, 9 * DAY + 180)
"""Of the four weeks: days, and minutes."""


def weeks() -> list[Scenario]:
    """Return four weeks in which nothing breaks, each with half a day before it: one run of the model.

    There are 5 leads an hour with 2 % bad input, a deployment a day with a restart of Hasura, a dead letter
    on a Sunday, a flood of valid leads for an hour, and Tết.
    """
    return [
        Scenario(
            name=f"week {week + 1}",
            start=FIRST_MONDAY,
            minutes=(week + 1) * WEEK_MINUTES,
            leads_per_hour=FEW_LEADS_PER_HOUR,
            timeline=_days_of_weeks,
            first_minute=max(0, week * WEEK_MINUTES - DAY // 2),
            restarts=_restarts(),
            traffic=_traffic_of_weeks,
        )
        for week in range(WEEKS)
    ]


def laid_over_a_week(name: str) -> Scenario:
    """Return an incident laid over the first of the four weeks, with one connection.

    It begins on the Sunday at half past ten, half an hour after the deployment; the lead that fails for good
    is a dead letter three quarters of an hour later. Those of a day meet the next deployment too.
    """
    base, since = incident(name), SUNDAY * DAY + RESTARTED_AT + 30 - BEFORE
    changes, broken = ALL[name].changes, range(BEFORE, BEFORE + ALL[name].minutes)

    def conditions(minute: int) -> Conditions:
        return replace(_days_of_weeks(since + minute), **(changes if minute in broken else {}))

    return replace(
        base,
        start=base.start + since * MINUTE,
        leads_per_hour=FEW_LEADS_PER_HOUR,
        timeline=conditions,
        restarts=tuple(at - since for at in _restarts() if 0 <= at - since < base.minutes),
        connections=1,
    )


def _restarts() -> tuple[int, ...]:
    return tuple(day * DAY + RESTARTED_AT + after for day in range(7 * WEEKS) for after in (0, 2))


def arrived(week: Scenario) -> int:
    """Return how many leads arrive in one of the weeks."""
    leads = arrivals(week.start, week.minutes, week.leads_per_hour, week.seed, week.traffic)
    return sum(leads[-WEEK_MINUTES:])


def _days_of_weeks(minute: int) -> Conditions:
    of_day = minute % DAY
    return Conditions(
        invalid_share=0.02,
        engine_up=of_day not in (RESTARTED_AT + 3, RESTARTED_AT + 4),
        failing_leads=int(minute == SUNDAY * DAY + 180),
        is_holiday=(minute + 7 * 60) // DAY in HOLIDAYS,
    )


def _traffic_of_weeks(minute: int) -> float:
    if minute in FLOOD:
        return 60.0
    return 0.2 if minute // DAY in HOLIDAYS else 1.0


def clean(leads_per_hour: float, minutes: int = WEEK_MINUTES, seed: int = 1) -> Scenario:
    """Return a time with what is normal: a deployment, a short fault of Pancake, leads found late."""
    return Scenario(
        name=f"clean at {leads_per_hour:g} leads an hour",
        start=FIRST_MONDAY,
        minutes=minutes,
        leads_per_hour=leads_per_hour,
        timeline=_normal_day,
        seed=seed,
        restarts=(600, 602),
    )


def _normal_day(minute: int) -> Conditions:
    """Pancake does not answer for a while on the first day, and leads are found missing on the second."""
    is_second = DAY <= minute < 2 * DAY
    return Conditions(pancake_answers=minute not in range(700, 706), found_missing=2 * is_second)


@dataclass(frozen=True)
class Firing:
    """An alert with its labels, and the evaluations at which it fires, in seconds since 1970."""

    labels: tuple[tuple[str, str], ...]
    times: tuple[float, ...]

    @property
    def name(self) -> str:
        return dict(self.labels)["alertname"]


def apply_for(times: Sequence[float], alert: Alert, steps: Sequence[float]) -> tuple[float, ...]:
    """Return the evaluations, of `steps`, at which an alert fires.

    `times` are those at which its expression has a value. It fires when that holds for `for` without an
    evaluation in between that has none, and then until it has had none for `keep_firing_for`.
    """
    firing: list[float] = []
    active_since = fired_last = None
    has_value = set(times)
    for time in steps:
        if time in has_value:
            active_since = time if active_since is None else active_since
            if time - active_since >= alert.for_seconds:
                fired_last = time
                firing.append(time)
        elif fired_last is not None and time - fired_last < alert.keep_seconds:
            firing.append(time)
        else:
            active_since = fired_last = None
    return tuple(firing)


def sent_times(firings: Sequence[Firing], inhibitions: Iterable[Inhibition]) -> dict[Firing, list[float]]:
    """Return the times at which each fires unsilenced, of those that have one."""
    at: dict[float, list[tuple[Firing, Labels]]] = defaultdict(list)
    for firing in firings:
        for time in firing.times:
            at[time].append((firing, dict(firing.labels)))
    rules, found = tuple(inhibitions), defaultdict[Firing, list[float]](list)
    for time in sorted(at):
        for firing, target in at[time]:
            if not any(
                rule.silences(source, target)
                for rule in rules
                for other, source in at[time]
                if other is not firing
            ):
                found[firing].append(time)
    return found


def messages(firings: Sequence[Firing], inhibitions: Iterable[Inhibition]) -> list[tuple[Firing, float]]:
    """Return what a receiver gets: one of each group when it fires first, and again when it had ended."""
    shown, groups = sent_times(firings, inhibitions), defaultdict[tuple[str, ...], list[Firing]](list)
    for firing in shown:
        groups[group_of({"team": "pancake", **dict(firing.labels)})].append(firing)
    found: list[tuple[Firing, float]] = []
    for members in groups.values():
        told = {time: firing for firing in reversed(members) for time in shown[firing]}
        is_due = True
        for before, time in pairwise([0.0, *sorted({time for each in members for time in each.times})]):
            is_due = is_due or time - before > GROUP_INTERVAL_SECONDS
            if is_due and time in told:
                found.append((told[time], time))
                is_due = False
    return sorted(found, key=lambda each: each[1])


def sent(firings: Sequence[Firing], inhibitions: Iterable[Inhibition]) -> set[str]:
    """Return the names of the alerts that reach a receiver."""
    return {firing.name for firing in sent_times(firings, inhibitions)}


GROUP_INTERVAL_SECONDS = 300.0
"""Alertmanager's, between two messages of a group: what ends and comes again within it is told once."""
STEP_SECONDS = 60.0
"""Between two evaluations; the samples are as far apart."""
FULL_BLOCKS = "--max-block-duration=162h"
"""The largest block of a week. promtool reads the whole text again for each block."""
QUERY_TIMEOUT_SECONDS = 600.0
RULES_ABOVE_RULES = 2
"""How often rules are recorded: a pass of promtool does not see what the same pass records."""
KEEP_ALL = ("--storage.tsdb.retention.time=100y", f"--query.timeout={QUERY_TIMEOUT_SECONDS:.0f}s")


class Replay:
    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def firings(self, scenario: Scenario) -> list[Firing]:
        return [firing for alert in alerts() for firing in self._evaluate(alert, scenario)]

    def has_samples(self, name: str, scenario: Scenario) -> bool:
        """Whether a series has samples within the time of a scenario."""
        since, until = scenario.recorded_time
        seconds = (until - since).total_seconds()
        return bool(self._queries.at(f"count_over_time({name}[{seconds:.0f}s])", until))

    def _evaluate(self, alert: Alert, scenario: Scenario) -> Iterator[Firing]:
        for series in self._queries.between(alert.expr, *scenario.recorded_time, STEP_SECONDS):
            times = [moment.timestamp() for moment, _ in series.points]
            firing = apply_for(times, alert, scenario.steps(STEP_SECONDS))
            if firing:
                labels = {**series.labels, "alertname": alert.name, "severity": alert.severity}
                labels.pop("__name__", None)
                yield Firing(tuple(sorted(labels.items())), firing)


@contextmanager
def replay(recordings: Sequence[Recording], folder: Path) -> Iterator[Replay]:
    """Load recordings, whose times must not overlap; the files go into `folder`."""
    data, config = folder / "data", folder / "prometheus.yml"
    config.write_text("{}\n")
    for recording in recordings:
        text = folder / "series.txt"
        recording.write(text)
        run_promtool("tsdb", "create-blocks-from", FULL_BLOCKS, "openmetrics", text, data)
        text.unlink()
    with Processes() as processes:
        server = prometheus(processes, config, data, *KEEP_ALL)
        server.bring_up()
        for _ in range(RULES_ABOVE_RULES):
            for recording in recordings:
                _record_rules(server, recording.scenario, data)
            server.stop()
            server.bring_up()  # it looks for new blocks only now and then
        with Queries(server.url, QUERY_TIMEOUT_SECONDS) as queries:
            yield Replay(queries)


def _record_rules(server: Service, scenario: Scenario, data: Path) -> None:
    since, until = scenario.recorded_time
    run_promtool(
        "tsdb", "create-blocks-from", FULL_BLOCKS, "rules", f"--url={server.url}",
        f"--start={since.timestamp():.0f}", f"--end={until.timestamp():.0f}",
        f"--output-dir={data}", f"--eval-interval={STEP_SECONDS:.0f}s", *rule_files(),
    )  # fmt: skip
