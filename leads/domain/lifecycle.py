"""The states of a pancake_webhook_event and the transitions between them.

The database refuses every transition that is not in TRANSITIONS (function
pancake_event_transition_allowed in migration 1777870069931); a test compares the two.
"""

from datetime import timedelta
from typing import Final

RECEIVED: Final = "received"
INGESTED: Final = "ingested"
PROCESSED: Final = "processed"
FAILED: Final = "failed"
DEAD_LETTER: Final = "dead_letter"
SKIPPED_KILL_SWITCH: Final = "skipped_kill_switch"
SKIPPED_SOURCE_DISABLED: Final = "skipped_source_disabled"

_SKIPPED = frozenset({SKIPPED_KILL_SWITCH, SKIPPED_SOURCE_DISABLED})
INITIAL = frozenset({RECEIVED, DEAD_LETTER}) | _SKIPPED
TRANSITIONS: dict[str, frozenset[str]] = {
    RECEIVED: frozenset({RECEIVED, INGESTED, DEAD_LETTER}) | _SKIPPED,
    INGESTED: frozenset({INGESTED, RECEIVED, PROCESSED, FAILED, DEAD_LETTER}) | _SKIPPED,
    PROCESSED: frozenset({PROCESSED, RECEIVED}),
    FAILED: frozenset({FAILED, RECEIVED, DEAD_LETTER}) | _SKIPPED,
    DEAD_LETTER: frozenset({DEAD_LETTER, RECEIVED}),
    # A held event of a customer who was erased becomes a dead letter.
    SKIPPED_KILL_SWITCH: frozenset({SKIPPED_KILL_SWITCH, RECEIVED, DEAD_LETTER}),
    SKIPPED_SOURCE_DISABLED: frozenset({SKIPPED_SOURCE_DISABLED, RECEIVED, DEAD_LETTER}),
}

STATES = frozenset(TRANSITIONS)
REPLAYED_BY_MANUAL_INVOCATION = frozenset({FAILED, DEAD_LETTER}) | _SKIPPED
"""States in which "Invoke" in the Hasura console replays the event."""
CLAIM_LEASE = timedelta(seconds=60)
"""How long an ingested event is left to its handler; the database refuses to release it earlier."""


def is_allowed(old: str | None, new: str) -> bool:
    """Whether a row may go from `old` to `new`; `old` is None for a new row."""
    return new in (INITIAL if old is None else TRANSITIONS[old])
