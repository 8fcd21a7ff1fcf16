"""`leads metadata remove` removes the integration's metadata and nothing more."""

import json

import psycopg
import pytest

from leads.cli.metadata.pieces import put, split
from sandbox.postgres.database import MIGRATIONS
from tests.support.shared_engine import Shared, of_others

pytestmark = pytest.mark.own_database


def test_removing_leaves_nothing_of_ours_however_often_it_was_applied(shared: Shared) -> None:
    """After an upgrade or a retry the backups hold us already; the removal does not go by them."""
    before, events = shared.export(), shared.scheduled("diva_nightly")
    for step in ("9a", "9b", "9a", "9b"):
        shared.run(step)
    applied = shared.pieces()

    shared.run("restore", "9b")
    shared.run("restore", "9a")
    assert shared.pieces() == applied

    shared.run("remove", "9b")
    left = shared.pieces()
    assert (
        applied.keys() - left.keys()
        == {key for key in applied if key[0] == "cron trigger"} - split(before, "default").keys()
    )
    shared.run("remove", "9a")
    assert shared.export() == before
    assert shared.scheduled("diva_nightly") == events
    shared.run("remove", "9a")
    assert shared.export() == before


def test_once_removed_our_tables_may_go_and_the_engine_stays_consistent(
    shared: Shared, database: str
) -> None:
    """`remove 9a` takes the crons as well, and what an older version had; then down.sql runs."""
    shared.run("9a")
    shared.run("9b")
    record = next(shared.folder.glob("applied-*.json"))
    action = shared.pieces()["action", "pancake_ingest_record"] | {"name": "pancake_former"}
    changed = put(shared.export(), "default", {("action", "pancake_former"): action}, set())
    shared.api("replace_metadata", changed)
    record.write_text(json.dumps([*json.loads(record.read_text()), ["action", "pancake_former", action]]))

    shared.run("remove", "9a")
    with psycopg.connect(database) as connection:
        for version in ("1777870069935_add_pancake_settings", "1777870069931_create_pancake_tables"):
            connection.execute((MIGRATIONS / version / "down.sql").read_bytes())
    shared.api("reload_metadata")

    assert shared.api("get_inconsistent_metadata")["is_consistent"]
    assert of_others(shared.pieces()) == shared.pieces()


def test_what_others_own_under_our_names_is_not_removed(shared: Shared) -> None:
    """A foreign cron trigger with one of our names stops the removal."""
    theirs = {"name": "pancake_check_sla", "webhook": "http://diva.internal/x", "schedule": "0 1 * * *"}
    shared.api("create_cron_trigger", theirs | {"include_in_metadata": True})
    before = shared.export()
    assert "belongs to another application" in shared.run("remove", "9a", code=1)
    assert shared.export() == before
