"""One run: a scenario, struck at given points, then left to recover, and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from proofs.chaos.checker import EFFECTS, Verdicts
from proofs.chaos.crashes.callers import Callers, NotAnswered
from proofs.chaos.crashes.edge import NotDrained
from proofs.chaos.crashes.points import Point, Trip
from proofs.chaos.crashes.scenarios import Scenario
from proofs.chaos.crashes.tripwire import Tripwire
from proofs.chaos.crashes.world import World
from proofs.chaos.effects import Ids, check_effects, expected_assignments, observe

STEP = timedelta(seconds=20)
STEPS_PER_MINUTE = 3
MAX_REST = timedelta(seconds=180)
"""The lease of a claim and two minutes."""
MAX_REST_AFTER_ENGINE_KILL = timedelta(seconds=100)
"""An event that a killed Hasura left locked is found by then (docs/decisions/0010)."""
MAX_REST_UNANSWERED_TWICE = timedelta(minutes=21)
"""If two calls of sendNotifications had no answer: WAITS_AFTER_UNKNOWN of leads/domain/notifications.py."""
CRON_PERIOD = timedelta(days=1)
"""The longest of all crons."""
ENGINE_LOCK = timedelta(minutes=31)
"""After it Hasura delivers an event again that an engine locked before it was killed."""
_UNFINISHED = """
    SELECT
        (SELECT count(*) FROM pancake_webhook_event WHERE status IN ('received', 'ingested', 'failed'))
        + (
            SELECT count(*) FROM pancake_webhook_event
            WHERE notified_at IS NULL AND notify_given_up_at IS NULL AND notifications <> '[]'::jsonb
        )
        + (
            SELECT count(*) FROM pancake_cron_run
            WHERE notified_at IS NULL AND notify_given_up_at IS NULL
                AND COALESCE(report -> 'notifications', '[]') <> '[]'::jsonb
        )
        + (SELECT count(*) FROM pancake_cron_run WHERE outcome = 'running')
        + (
            SELECT count(*) FROM hdb_catalog.event_log
            WHERE NOT delivered AND NOT error AND locked IS NULL
        )
"""


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
                await run.callers.wait_drained()
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
    while left := (await callers.sql(_UNFINISHED))[0][0]:
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
