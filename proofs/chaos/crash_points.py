"""`scripts/chaos crash_points`: a fault at each moment of each round trip; nothing may be lost or doubled."""

import asyncio
import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from proofs.bench.environment import AsJson, describe_machine
from proofs.chaos.crashes.parts import Callers, NotAnswered, NotDrained
from proofs.chaos.crashes.proxies import (
    FOUND_FILE,
    POINTS_FILE,
    Point,
    Trip,
    Trips,
    Tripwire,
    differences,
    points_of,
    read_found,
    read_points,
    write_points,
)
from proofs.chaos.crashes.world import SCENARIOS, Scenario, World
from proofs.chaos.effects import (
    EFFECTS,
    PROBLEMS,
    QUERIES,
    Ids,
    Verdicts,
    check_effects,
    expected_assignments,
    observe,
)
from proofs.chaos.frame import ProcessCount, proof
from sandbox.edge import require_edge_packages
from sandbox.processes import exit_on_sigterm

STEP = timedelta(seconds=20)
STEPS_PER_MINUTE = 3
MAX_REST = timedelta(seconds=145)
"""The lease of a claim and two minutes."""
MAX_REST_AFTER_ENGINE_KILL = timedelta(seconds=90)
"""An event that a killed Hasura left locked is found by then (docs/decisions/0010)."""
MAX_REST_UNANSWERED_TWICE = timedelta(minutes=21)
"""If two calls of sendNotifications had no answer: WAITS_AFTER_UNKNOWN of leads/domain/notifications.py."""
CRON_PERIOD = timedelta(days=1)
"""The longest of all crons."""
ENGINE_LOCK = timedelta(minutes=31)
"""After it Hasura delivers an event again that an engine locked before it was killed."""


@dataclass(frozen=True)
class Result:
    """A run: where faults struck, how long it took to come to rest, and the verdict on each effect."""

    points: Sequence[Point]
    struck: int
    rest_seconds: float
    verdicts: Verdicts | None
    problems: Sequence[str] = ()
    recovery: Sequence[Trip] = field(default=())
    """The round trips after the last strike, for a second fault."""

    @property
    def is_valid(self) -> bool:
        return not self.problems and self.verdicts is not None and self.verdicts.is_valid


class WrongEffects(Exception):
    """A scenario has other effects than it says, without a fault."""


class Runner:
    """Runs scenarios; the effects of the run without faults are those that every other one must have."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._expected: dict[str, Ids] = {}

    async def trace(self, scenario: Scenario) -> list[Trip]:
        """Run a scenario without faults; return its round trips. Raises NotAnswered or WrongEffects."""
        await self._world.prepare(scenario)
        wire = Tripwire()
        ids, _, _ = await self._run(scenario, wire)
        counts = tuple(len(ids[effect]) for effect in EFFECTS)
        if counts != scenario.counts:
            raise WrongEffects(f"{scenario.name}: without a fault {counts} effects, not {scenario.counts}")
        self._expected[scenario.name] = ids
        return wire.traces[0]

    async def strike(self, scenario: Scenario, points: Sequence[Point]) -> Result:
        """Run a traced scenario with a fault at each of the points, one after the other."""
        wire = Tripwire(points)
        try:
            observed, rest, assignments = await self._run(scenario, wire)
        except (NotAnswered, NotDrained) as error:
            return Result(points, len(wire.struck), 0, None, [f"did not recover: {error}"])
        expected = _with_assignments(self._expected[scenario.name], assignments)
        problems = [f"did not strike: {point}" for point in points[len(wire.struck) :]]
        if rest > _max_rest(points):
            problems.append(f"at rest after {rest.total_seconds():.0f} s")
        verdicts = check_effects(expected, expected, observed)
        return Result(points, len(wire.struck), rest.total_seconds(), verdicts, problems, wire.traces[-1])

    async def _run(self, scenario: Scenario, wire: Tripwire) -> tuple[Ids, timedelta, list[str]]:
        """Return the effects, the time until rest, and the assignments that the tickets show."""
        run = await self._world.begin(scenario, wire)
        try:
            wire.start()
            await scenario.act(run.callers, self._world.outside)
            wire.stop()
            if scenario.strikes_edge:
                await run.callers.edge.wait_drained()
            rest = await _rest(run.callers, wire)
            wire.end()
            if scenario.cron:
                await run.callers.pass_time(CRON_PERIOD)
                await run.callers.tick(scenario.cron)
                await _rest(run.callers, wire)
            await run.callers.pass_time(ENGINE_LOCK)
            await run.callers.deliver_events()
            sent = self._world.outside.sent(repeats=len(wire.struck))
            return observe(run.database_url, sent), rest, expected_assignments(run.database_url)
        finally:
            await self._world.end(run)


async def _rest(callers: Callers, wire: Tripwire) -> timedelta:
    """Deliver events, and each minute a tick of retry_failed, until nothing is left to do.

    Returns the time since the last fault. Raises NotAnswered after MAX_REST_UNANSWERED_TWICE.
    """
    steps, struck, since = 0, len(wire.struck), callers.passed
    await callers.deliver_events()
    while left := (await callers.sql(QUERIES["crashes/count_unfinished"]))[0][0]:
        if steps * STEP > MAX_REST_UNANSWERED_TWICE:
            raise NotAnswered(f"{left} pieces of work were left")
        steps += 1
        await callers.pass_time(STEP)
        await callers.deliver_events()
        if steps % STEPS_PER_MINUTE == 0:
            await callers.tick("retry_failed")
            await callers.deliver_events()
        if len(wire.struck) > struck:
            struck, since = len(wire.struck), callers.passed
    return callers.passed - since


def _max_rest(points: Sequence[Point]) -> timedelta:
    if len(points) == 1 and points[0].trip.kind == "event":
        return MAX_REST_AFTER_ENGINE_KILL
    unanswered = [point for point in points if point.trip.label == "POST /v1/graphql"]
    return MAX_REST_UNANSWERED_TWICE if len(unanswered) > 1 else MAX_REST


def _with_assignments(ids: Ids, assignments: Sequence[str]) -> Ids:
    """Return the expected ids with the assignments of this run: who gets a ticket depends on the order."""
    tickets = [id_ for id_ in ids["ticket"] if not id_.startswith("assignment ")]
    return {**ids, "ticket": [*tickets, *assignments]}


Shown = TypeVar("Shown")
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def crash_points(
    point: Annotated[
        list[str] | None, typer.Option(help="Only points with this text, as --json prints them; repeatable.")
    ] = None,
    sample: Annotated[
        int,
        typer.Option(
            help=f"Only the points of {FOUND_FILE.name}, and so many more, chosen by the seed; 0 takes all.",
            min=0,
        ),
    ] = 0,
    pairs: Annotated[
        int, typer.Option(help="Then so many runs with two faults, chosen by the seed.", min=0)
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the sample and of the pairs.")] = 1,
    processes: ProcessCount = 1,
    write: Annotated[
        bool, typer.Option("--write", help="Only trace, and write the file of the points.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Kill handlers, edge and Hasura at every round trip, or lose its answer, and check every effect.

    A trace finds the round trips of ingest, processing, outbox, replay, each cron and the edge. Each run
    starts from the same state, is struck once, is left to recover, and must end with the effects of the run
    without a fault, at rest within the lease of a claim and two minutes. With several processes another one
    takes the calls after a fault, and the one before lives on if only an answer was lost. Exit codes: 0
    nothing lost or doubled, 1 a run failed, a fault did not strike, or the file of the points differs from
    the trace.
    """
    if pairs and processes > 1:
        raise typer.BadParameter(
            "a second fault has to name the process that it kills: use one process", param_hint="--pairs"
        )
    require_edge_packages()
    exit_on_sigterm()
    console = Console(stderr=True)
    try:
        report = asyncio.run(_run(console, Choice(point or [], sample, pairs, seed, write), processes))
    except (NotAnswered, NotDrained, WrongEffects) as error:
        console.print(f"A run without a fault failed. {error}", markup=False, highlight=False)
        raise typer.Exit(1) from error
    for line in report.problems():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(proof("crash_points", report.as_json()), ensure_ascii=False))
    else:
        Console().print(report.summary())
    if report.problems():
        raise typer.Exit(1)


@dataclass(frozen=True)
class Choice:
    texts: Sequence[str]
    sample: int
    pairs: int
    seed: int
    write: bool

    def scenarios(self, listed: Trips) -> list[Scenario]:
        """Return the scenarios with a point that is chosen by its text; without a text all of them."""
        named = {name for name, trips in listed.items() if any(map(self._has, points_of(name, trips)))}
        return [scenario for scenario in SCENARIOS if not self.texts or scenario.name in named]

    def _has(self, point: Point) -> bool:
        return not self.texts or any(text in str(point) for text in self.texts)

    def named(self, points: Sequence[Point]) -> list[Point]:
        """Return the points with one of the texts. Raises BadParameter if there is none."""
        chosen = list(filter(self._has, points))
        if not chosen:
            raise typer.BadParameter(
                "no point has this text; --json prints all of them", param_hint="--point"
            )
        return chosen

    def select(self, points: Sequence[Point]) -> list[Point]:
        """Return the points of the runs with one fault. Raises BadParameter if there is none."""
        chosen = self.named(points)
        found = [point for point in chosen if str(point) in read_found()]
        others = [point for point in chosen if point not in found]
        if self.sample and self.sample < len(others):
            return [*found, *random.Random(self.seed).sample(others, self.sample)]
        return chosen


@dataclass
class Report:
    """What the file and the trace disagree on, and the result of each run."""

    seed: int
    differences: list[str] = field(default_factory=list)
    singles: list[Result] = field(default_factory=list)
    pairs: list[Result] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def runs(self) -> list[Result]:
        return [*self.singles, *self.pairs]

    def problems(self) -> list[str]:
        lines = [f"{POINTS_FILE.name}: {line}" for line in self.differences]
        for result in self.runs:
            name = " then ".join(map(str, result.points))
            lines += [f"{name}: {problem}" for problem in result.problems]
            if result.verdicts is not None:
                for problem in PROBLEMS:
                    lines += [f"{name}: {problem} {id_}" for id_ in result.verdicts.ids(problem)]
        return lines

    def summary(self) -> dict[str, Any]:
        all_verdicts = [result.verdicts for result in self.runs if result.verdicts is not None]
        counts = {problem: sum(len(each.ids(problem)) for each in all_verdicts) for problem in PROBLEMS}
        return {
            "points": len(self.singles), "pairs": len(self.pairs),
            "struck": sum(result.struck for result in self.runs), **counts,
            "slowest_rest_seconds": max((result.rest_seconds for result in self.runs), default=0.0),
            "by_scenario": self._by_scenario(),
            "seconds": round(self.seconds, 1), "ok": not self.problems(),
        }  # fmt: skip

    def _by_scenario(self) -> dict[str, dict[str, float]]:
        """Return the points of each scenario, the ids of each effect that are ok, and the slowest rest."""
        table: dict[str, dict[str, float]] = {}
        for result in self.singles:
            row = table.setdefault(result.points[0].scenario, dict.fromkeys(("points", *EFFECTS), 0))
            row["points"] += 1
            row["slowest_rest_seconds"] = max(row.get("slowest_rest_seconds", 0), result.rest_seconds)
            for effect, verdict in result.verdicts.effects.items() if result.verdicts else ():
                row[effect] += len(verdict.ok)
        return table

    def as_json(self) -> dict[str, Any]:
        return {
            **self.summary(),
            "seed": self.seed,
            "problems": self.problems(),
            "machine": describe_machine(),
            "runs": [_as_json(result) for result in self.runs],
        }


async def _run(console: Console, choice: Choice, processes: int) -> Report:
    started = time.monotonic()
    report = Report(choice.seed)
    async with World(processes) as world:
        runner = Runner(world)
        listed = read_points()
        traced = await _trace(console, runner, SCENARIOS if choice.write else choice.scenarios(listed))
        if choice.write:
            write_points(traced)
            return report
        report.differences = differences({name: listed.get(name, []) for name in traced}, traced)
        points = [point for scenario, trips in traced.items() for point in points_of(scenario, trips)]
        for point in _shown(console, "one fault", choice.select(points)):
            report.singles.append(await runner.strike(BY_NAME[point.scenario], [point]))
        chosen = random.Random(choice.seed).choices(choice.named(points), k=choice.pairs)
        chance = random.Random(choice.seed)
        for point in _shown(console, "two faults", chosen):
            report.pairs.append(await _strike_twice(runner, point, chance))
    report.seconds = time.monotonic() - started
    return report


async def _trace(console: Console, runner: Runner, scenarios: Sequence[Scenario]) -> Trips:
    traced = {}
    for scenario in _shown(console, "tracing", scenarios):
        traced[scenario.name] = await runner.trace(scenario)
    return traced


async def _strike_twice(runner: Runner, point: Point, chance: random.Random) -> Result:
    """Strike once, then again at the same point and at one of the round trips with which it recovered."""
    scenario = BY_NAME[point.scenario]
    once = await runner.strike(scenario, [point])
    return await runner.strike(scenario, [point, chance.choice(points_of(scenario.name, once.recovery))])


def _shown(console: Console, what: str, items: Sequence[Shown]) -> Iterable[Shown]:
    """Yield the items behind a progress bar, which only a terminal shows."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        yield from progress.track(items, description=what)


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "points": [str(point) for point in result.points],
        "struck": result.struck,
        "rest_seconds": result.rest_seconds,
        "problems": list(result.problems),
        **({} if result.verdicts is None else result.verdicts.as_json()),
    }
