"""Contenders measured in turn, in short slices: other work on the machine then meets all of them alike."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, permutations
from statistics import median, quantiles
from typing import Any

from rich.console import Console

from proofs.bench.environment import BenchEnvironment
from proofs.loadtest.resources import cpu_seconds_of_tree

Spread = dict[str, float]


@dataclass(frozen=True, slots=True)
class Done:
    """How much was done, and in how many seconds."""

    number: int
    seconds: float

    @property
    def rate(self) -> float:
        """Per second."""
        return self.number / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Slice:
    """One measurement of one contender; `cpu_us` is the CPU time of one piece of work, by process."""

    rate: float
    cpu_us: Mapping[str, float]


Contender = Callable[[], Callable[[], Done]]
"""Prepares a slice, which is not measured, and returns its work."""


def run_slices(
    bench: BenchEnvironment, contenders: Mapping[str, Contender], rounds: int, console: Console
) -> dict[str, list[Slice]]:
    """Measure one slice of each contender in each round; their order changes from round to round."""
    slices: dict[str, list[Slice]] = {name: [] for name in contenders}
    orders = cycle(permutations(contenders))
    for number in range(1, rounds + 1):
        for name in next(orders):
            slices[name].append(_slice(bench, contenders[name]()))
        rates = ", ".join(f"{name} {found[-1].rate:,.0f}/s" for name, found in slices.items())
        console.print(f"round {number}: {rates}")
    return slices


def spread(values: Sequence[float], digits: int = 3) -> Spread:
    """Return median, quartiles, the least, and the number of the values."""
    cuts = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3
    figures = {"median": median(values), "q1": cuts[0], "q3": cuts[2], "min": min(values)}
    return {name: round(value, digits) for name, value in figures.items()} | {"n": len(values)}


def ratio(slices: Sequence[Slice], baseline: Sequence[Slice]) -> Spread:
    """Return the rate as a ratio to the baseline's, from the pairs of the same round."""
    return spread([ours.rate / theirs.rate for ours, theirs in zip(slices, baseline, strict=True)])


def figures(slices: Sequence[Slice]) -> dict[str, Any]:
    """Return rates per second; of each process the CPU time for one piece of work in µs, and cores in use.

    A process of one thread that uses a whole core limits the rate.
    """
    processes = slices[0].cpu_us
    return {
        "rate": spread([each.rate for each in slices], 0),
        "cpu_us": {name: spread([each.cpu_us[name] for each in slices], 0) for name in processes},
        "cores": {
            name: round(median(each.rate * each.cpu_us[name] / 1e6 for each in slices), 2)
            for name in processes
        },
    }


def _slice(bench: BenchEnvironment, work: Callable[[], Done]) -> Slice:
    before = dict(_cpu_seconds(bench))
    done = work()
    used = {name: seconds - before[name] for name, seconds in _cpu_seconds(bench)}
    return Slice(done.rate, {name: seconds / max(1, done.number) * 1e6 for name, seconds in used.items()})


def _cpu_seconds(bench: BenchEnvironment) -> Iterator[tuple[str, float]]:
    """Yield what each process has used so far; `client` is the load generator, also if that is pgbench."""
    own = os.times()
    yield "handler", bench.cpu_seconds()
    yield "postgres", cpu_seconds_of_tree(bench.cluster.pid)
    yield "client", own.user + own.system + own.children_user + own.children_system
