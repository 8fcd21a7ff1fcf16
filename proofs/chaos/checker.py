"""What faults did to each effect, by id: a checker in the manner of Jepsen's `total-queue`.

https://jepsen-io.github.io/jepsen/jepsen.checker.html#var-total-queue. It differs in one point: an id may be
attempted and acknowledged any number of times, since senders repeat, and has to be observed once.
No input and no output: every chaos run gives it the ids that it collected.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

EFFECTS = ("event", "customer", "ticket", "notification")
"""Event row; account and contact; ticket and counters of the roster; notification."""
PROBLEMS = ("lost", "duplicated", "unexpected")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The ids of one effect, each list in order.

    `ok`: attempted and observed once. `lost`: acknowledged and never observed. `duplicated`: attempted and
    observed more than once. `unexpected`: observed and never attempted. `recovered`: those of `ok` that were
    not acknowledged. An id that was attempted, but neither acknowledged nor observed, is in no list.
    """

    attempted: int
    acknowledged: int
    ok: tuple[str, ...]
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    unexpected: tuple[str, ...]
    recovered: tuple[str, ...]

    @property
    def is_valid(self) -> bool:
        """Whether nothing is lost, duplicated or unexpected."""
        return not (self.lost or self.duplicated or self.unexpected)

    def counts(self) -> dict[str, int]:
        """Return how many ids are attempted, acknowledged and in each list."""
        lists = {name: len(getattr(self, name)) for name in ("ok", *PROBLEMS, "recovered")}
        return {"attempted": self.attempted, "acknowledged": self.acknowledged, **lists}


def check(attempted: Iterable[str], acknowledged: Iterable[str], observed: Iterable[str]) -> Verdict:
    """Compare what was attempted, and what was acknowledged of it, with what is observed in the end.

    Raises ValueError if an id was acknowledged and not attempted: the run recorded it wrongly.
    """
    tried, promised, seen = frozenset(attempted), frozenset(acknowledged), Counter(observed)
    if stray := promised - tried:
        raise ValueError(f"acknowledged, but not attempted: {', '.join(sorted(stray))}")
    once = {id_ for id_ in tried if seen[id_] == 1}
    return Verdict(
        attempted=len(tried),
        acknowledged=len(promised),
        ok=_sorted(once),
        lost=_sorted(promised - seen.keys()),
        duplicated=_sorted(id_ for id_ in tried if seen[id_] > 1),
        unexpected=_sorted(seen.keys() - tried),
        recovered=_sorted(once - promised),
    )


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The verdict on each effect that a run observes."""

    effects: Mapping[str, Verdict]

    @property
    def is_valid(self) -> bool:
        return all(verdict.is_valid for verdict in self.effects.values())

    def ids(self, problem: str) -> list[str]:
        """Return the ids of one of PROBLEMS over all effects, each as `effect: id`."""
        return [
            f"{effect}: {id_}"
            for effect, verdict in self.effects.items()
            for id_ in getattr(verdict, problem)
        ]

    def as_json(self) -> dict[str, object]:
        """Return the ids of each problem, and the counts of each effect."""
        counts = {effect: verdict.counts() for effect, verdict in self.effects.items()}
        return {**{problem: self.ids(problem) for problem in PROBLEMS}, "effects": counts}


def _sorted(ids: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(ids))
