"""The states of an event: Python and the database allow the same transitions."""

from itertools import product

import psycopg
import pytest

from leads.domain.lifecycle import INITIAL, REPLAYED_BY_MANUAL_INVOCATION, STATES, TRANSITIONS, is_allowed


def test_python_and_the_database_allow_the_same_steps(database: str) -> None:
    states = sorted(STATES)
    pairs: list[tuple[str | None, str]] = [*product([None, *states], states)]
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT public.pancake_event_transition_allowed(p.old, p.new)"
            " FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS p (old, new, number) ORDER BY number",
            ([old for old, _ in pairs], [new for _, new in pairs]),
        ).fetchall()
    found = dict(zip(pairs, (row[0] for row in rows), strict=True))
    assert found == {(old, new): is_allowed(old, new) for old, new in pairs}


def test_the_database_knows_the_same_states(database: str) -> None:
    with psycopg.connect(database) as connection:
        (check,) = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conname = 'ck_pancake_webhook_event_status'"
        ).fetchone() or ("",)
    assert {word for word in check.split("'") if word.replace("_", "").isalpha()} >= STATES
    assert check.count("::text") - check.count("'::text") <= 1
    assert check.count("'::text") == len(STATES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("received", "processed"),  # never without a claim
        ("received", "failed"),
        ("processed", "ingested"),
        ("processed", "failed"),
        ("dead_letter", "processed"),
        ("failed", "ingested"),
        ("skipped_kill_switch", "ingested"),
        (None, "processed"),
        (None, "ingested"),
        (None, "failed"),
    ],
)
def test_skipped_steps_are_refused(old: str | None, new: str) -> None:
    assert not is_allowed(old, new)


def test_every_state_can_be_reached_and_left() -> None:
    assert set(INITIAL).union(*TRANSITIONS.values()) == STATES
    assert all("received" in TRANSITIONS[state] for state in STATES)


def test_a_user_can_replay_events_that_were_not_processed() -> None:
    assert STATES - {"received", "ingested", "processed"} == REPLAYED_BY_MANUAL_INVOCATION
