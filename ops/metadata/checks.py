"""Find what is wrong with our metadata on an engine."""

from collections.abc import Mapping, Sequence
from typing import Any

from ops.metadata.engine import Engine
from ops.metadata.pieces import Key, describe_places, find_changes
from ops.waiting import poll

EVENTS_CHECK_INTERVAL_SECONDS = 1


def find_differences(wanted: Mapping[Key, Any], held: Mapping[Key, Any]) -> list[str]:
    """List our pieces that are missing or differ, each with the places."""
    return [
        " ".join(change.key)
        + (
            " is missing"
            if change.kind == "added"
            else f" differs: {describe_places(change.after, change.before)}"
        )
        for change in find_changes(wanted, held)
    ]


def find_stopped_calls(engine: Engine, wanted: Mapping[Key, Any], held: Mapping[Key, Any]) -> list[str]:
    """List our calls that an allow list stops; empty if it is off."""
    if not engine.has_allow_list():
        return []
    kinds = ("allow-list entry", "query collection")
    missing = (" ".join(key) for key in wanted if key[0] in kinds and key not in held)
    return [f"{name} is missing: Hasura stops its calls" for name in missing]


def find_inconsistencies(engine: Engine) -> list[str]:
    """List what the engine calls inconsistent, of others too."""
    return [f"inconsistent: {name} ({reason})" for name, reason in engine.inconsistencies().items()]


def find_idle_crons(engine: Engine, crons: Sequence[str], wait_seconds: float) -> list[str]:
    """List the cron triggers that the engine will not run; wait at most so long for their events."""
    counts: dict[str, int | None] = {}
    for _ in poll(wait_seconds, EVENTS_CHECK_INTERVAL_SECONDS):
        counts = engine.future_events(crons)
        if 0 not in counts.values():
            break
    return [
        f"cron trigger {name} "
        + ("has no scheduled event" if count == 0 else "is inconsistent: the engine does not run it")
        for name, count in counts.items()
        if not count
    ]
