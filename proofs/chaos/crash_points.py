"""`scripts/chaos crash_points`: a fault at each moment of each round trip; nothing may be lost or doubled."""

import asyncio
import json
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from proofs.bench.environment import describe_machine
from proofs.chaos.checker import EFFECTS, PROBLEMS
from proofs.chaos.crashes.callers import NotAnswered
from proofs.chaos.crashes.edge import NotDrained
from proofs.chaos.crashes.points import (
    FOUND_FILE,
    POINTS_FILE,
    Point,
    Trips,
    differences,
    points_of,
    read_found,
    read_points,
    write_points,
)
from proofs.chaos.crashes.run import Result, Runner, WrongEffects
from proofs.chaos.crashes.scenarios import SCENARIOS, Scenario
from proofs.chaos.crashes.world import World
from proofs.chaos.processes import ProcessCount
from proofs.chaos.proof import proof
from sandbox.edge.packages import require_edge_packages
from sandbox.stack.signals import exit_on_sigterm

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
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
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
    """The options that choose points."""

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
        """Return a line for each thing that is wrong."""
        lines = [f"{POINTS_FILE.name}: {line}" for line in self.differences]
        for result in self.runs:
            name = " then ".join(map(str, result.points))
            lines += [f"{name}: {problem}" for problem in result.problems]
            if result.verdicts is not None:
                for problem in PROBLEMS:
                    lines += [f"{name}: {problem} {id_}" for id_ in result.verdicts.ids(problem)]
        return lines

    def summary(self) -> dict[str, Any]:
        """Return the counts."""
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
        """Return the counts, the machine and every run."""
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
