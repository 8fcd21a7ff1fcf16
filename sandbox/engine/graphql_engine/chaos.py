"""Fault injection: a seeded plan decides the fate of each delivery of a trigger.

The plan comes from a file or from the control route `/proofs/chaos` (not one of Hasura's):
`{"seed": 7, "triggers": {"<name or *>": {"drop": 0.2, "duplicate": 0.1, "lost_ack": 0.1, …}}}`.
"""

import enum
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from graphql_engine.errors import QErr
from graphql_engine.webhooks.call import Reply

Item = TypeVar("Item")
Send = Callable[[], Awaitable[Reply]]


class Fate(enum.StrEnum):
    """What happens to one delivery."""

    DELIVER = "deliver"
    DROP = "drop"
    DUPLICATE = "duplicate"
    LOST_ACK = "lost_ack"
    DELAY = "delay"
    CRASH_LOCKED = "crash_locked"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"


RATES = tuple(fate for fate in Fate if fate is not Fate.DELIVER)


class Chaos:
    """The current plan. Without a plan every delivery is sent normally."""

    def __init__(self) -> None:
        self._plans: dict[str, dict[str, float]] = {}
        self._random = random.Random(0)
        self.seed = 0
        self.counts: Counter[str] = Counter()

    def load(self, plan: dict[str, Any]) -> None:
        """Replace the plan. Raises QErr `parse-failed` for an unknown key or a rate outside 0..1."""
        if unknown := set(plan) - {"seed", "triggers"}:
            raise QErr("parse-failed", f"chaos: unknown key {sorted(unknown)[0]!r}")
        plans: dict[str, dict[str, float]] = {}
        for trigger, rates in (plan.get("triggers") or {}).items():
            plans[trigger] = {key: _rate(trigger, key, value) for key, value in rates.items()}
            if sum(plans[trigger].get(fate, 0.0) for fate in RATES) > 1 + 1e-9:
                raise QErr("parse-failed", f"chaos: the rates of {trigger!r} sum to more than 1")
        self.seed = int(plan.get("seed", 0))
        self._random = random.Random(self.seed)
        self._plans = plans
        self.counts = Counter()

    def shown(self) -> dict[str, Any]:
        """Return the plan and the number of deliveries per fate."""
        return {"seed": self.seed, "triggers": self._plans, "counts": dict(self.counts)}

    def fate(self, trigger: str) -> Fate:
        """Draw the fate of the next delivery of a trigger."""
        plan = self._plans.get(trigger) or self._plans.get("*")
        if plan is None:
            return Fate.DELIVER
        drawn, chosen = self._random.random(), Fate.DELIVER
        for fate in RATES:
            drawn -= plan.get(fate, 0.0)
            if drawn < 0:
                chosen = fate
                break
        self.counts[chosen] += 1
        return chosen

    def arrange(self, items: Sequence[Item]) -> list[Item]:
        """Return the batch in its order, or shuffled if a plan says `reorder`."""
        arranged = list(items)
        if any(self._random.random() < plan.get("reorder", 0.0) for plan in self._plans.values()):
            self._random.shuffle(arranged)
        return arranged

    async def carry_out(self, fate: Fate, send: Send) -> Reply:
        """Send one delivery as its fate says; return the reply that the engine acts on."""
        if fate is Fate.DROP:
            return Reply(None, "chaos: dropped before it was sent")
        if fate is Fate.TIMEOUT:
            return Reply(None, "chaos: timed out")
        if fate is Fate.SERVER_ERROR:
            return Reply(500, "chaos: server error")
        if fate is Fate.DELAY:
            await anyio.sleep(self._random.uniform(0.05, 0.5))
        reply = await send()
        if fate is Fate.DUPLICATE:
            reply = await send()
        if fate is Fate.LOST_ACK:
            return Reply(None, "chaos: the acknowledgement was lost")
        return reply


def _rate(trigger: str, key: str, value: Any) -> float:
    if key not in {*RATES, "reorder"}:
        raise QErr("parse-failed", f"chaos: {trigger!r} has the unknown key {key!r}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise QErr("parse-failed", f"chaos: {trigger}.{key} must be a number from 0 to 1")
    return float(value)
