"""Look at all parts at once, and say what is wrong in the order in which one part needs another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from ops.cron_schedule import Schedule
from ops.probes.database import (
    DatabaseLook,
    LockWait,
    find_blocker,
    judge_database,
    judge_wait,
    look_at_database,
)
from ops.probes.engine import EngineProbes, judge_engine, own_metadata
from ops.probes.http_services import (
    HandlersLook,
    judge_edge,
    judge_handlers,
    look_at_edge,
    look_at_handlers,
)
from ops.probes.lines import Level, Line
from ops.probes.pancake import KeyLook, look_at_keys
from ops.probes.running import REQUEST_SECONDS, Failure, Probe, Probes
from ops.settings import OperatorSettings
from ops.status import judging
from ops.status.state import State, load_state

KEYS_MAX_AGE = timedelta(minutes=1)
"""How often a watching look calls Pancake with its keys, at most."""

SHOW_ACTIVITY = "psql: SELECT pid, state, wait_event, query FROM pg_stat_activity"
NEEDS = ("DATABASE_URL", "HASURA_URL", "HASURA_ADMIN_SECRET")
MAY_HAVE = ("HANDLERS_URL", "EDGE_STATUS_URL", "ENCRYPTION_KEYS")


@dataclass
class Watcher:
    """Looks again and again, with the answers of Pancake for a minute each."""

    settings: OperatorSettings
    source: str
    _keys: Mapping[str, KeyLook] | Failure | None = None
    _keys_at: datetime | None = None

    def look(self) -> list[Line]:
        """Return a line for each part within 3 s; a part that does not answer is a red line."""
        now, settings = datetime.now(UTC), self.settings
        probes = Probes()
        server = probes.start(partial(look_at_database, settings.database_url, "status"))
        state = probes.start(partial(load_state, settings.database_url, now))
        blocker = probes.start(partial(find_blocker, settings.database_url, "status", state))
        engine = EngineProbes(probes, settings, self.source)
        handlers_url, edge_url = settings.handlers_url, settings.edge_status_url
        handlers = probes.start(partial(look_at_handlers, handlers_url)) if handlers_url else None
        edge = probes.start(partial(look_at_edge, edge_url)) if edge_url else None
        keys = self._start_keys(probes, now)
        found_handlers = handlers.answer() if handlers else None
        chain = [
            _judge_both(server.answer(), found_state := state.answer(), blocker.answer()),
            *judge_engine(engine.look()),
            judge_handlers(found_handlers),
            judge_edge(edge.answer() if edge else None),
        ]
        if keys is not None:
            self._keys, self._keys_at = keys.answer(), now
        return _arrange(chain, found_state, found_handlers, self._keys)

    def _start_keys(self, probes: Probes, now: datetime) -> Probe[dict[str, KeyLook]] | None:
        """Call Pancake, unless that is not configured or was done a moment ago."""
        if self.settings.key_ring.is_empty:
            return None
        if self._keys_at is not None and now - self._keys_at < KEYS_MAX_AGE:
            return None
        return probes.start(partial(look_at_keys, self.settings, "status"))


def read_schedules() -> dict[str, Schedule]:
    """Read the schedules of our crons by name, without `pancake_`. Raises WrongUsage."""
    return {name: Schedule.parse(text) for name, text in read_expressions().items()}


def read_expressions() -> dict[str, str]:
    """Read the cron expressions of our metadata by name, without `pancake_`. Raises WrongUsage."""
    crons = own_metadata()["cron_triggers"]
    return {each["name"].removeprefix("pancake_"): each["schedule"] for each in crons}


def _judge_both(
    server: DatabaseLook | Failure, state: State | Failure, blocker: LockWait | Failure | None
) -> Line:
    """Judge the database; if it answers and our statements do not end, that is what is wrong."""
    line = judge_database(server)
    if line.level is Level.RED or not isinstance(state, Failure):
        return line
    if isinstance(blocker, LockWait):
        wait = judge_wait(blocker, REQUEST_SECONDS)
        return Line(line.name, Level.RED, f"it answers, but {wait.text}", wait.helps)
    return Line(line.name, Level.RED, f"it answers, but {state.reason}", SHOW_ACTIVITY)


def _arrange(
    chain: Sequence[Line],
    state: State | Failure,
    handlers: HandlersLook | Failure | None,
    keys: Mapping[str, KeyLook] | Failure | None,
) -> list[Line]:
    if isinstance(state, Failure):
        names = ("tickets", "switches", "Pancake", "rosters", "queue", "crons", "unassigned", "unsent")
        first, *rest = (Line(name, Level.UNKNOWN, "not known: see the database") for name in names)
        return [first, *chain, *rest]
    switches = judging.judge_switches(state)
    breaker = handlers.breaker if isinstance(handlers, HandlersLook) else None
    is_stopped = any(line.level is Level.RED for line in switches)
    return [
        judging.judge_tickets(state),
        *chain,
        *switches,
        *judging.judge_pancake(state, keys, breaker),
        judging.judge_rosters(state.rosters),
        judging.judge_queue(state.queue, state.now, is_stopped=is_stopped),
        judging.judge_crons(state, read_schedules()),
        judging.judge_unassigned(state),
        judging.judge_unsent(state.unsent, state.now),
    ]
