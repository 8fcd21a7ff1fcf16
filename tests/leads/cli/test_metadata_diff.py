"""`leads metadata diff` shows where the engine's metadata differs from our directory, and hides secrets."""

import json
from pathlib import Path
from typing import Any

import pytest

from leads.cli.metadata.changes import Change
from leads.cli.metadata.pieces import Json, Key, put
from tests.support.hasura_project import make_own
from tests.support.shared_engine import Shared

pytestmark = pytest.mark.own_database

CRON: Key = ("cron trigger", "pancake_check_sla")
ACTION: Key = ("action", "pancake_ingest_record")


def changes(shared: Shared, *arguments: str, code: int = 1) -> list[Json]:
    found: list[Json] = json.loads(shared.run("diff", *arguments, "--json", code=code))["changes"]
    return found


def replace(shared: Shared, key: Key, **fields: Any) -> None:
    """Change one of our objects on the engine."""
    changed = {key: shared.pieces()[key] | fields}
    shared.api("replace_metadata", put(shared.export(), "default", changed, set()))


def test_an_engine_that_holds_ours_has_no_differences(shared: Shared) -> None:
    """The cron triggers come with 9b."""
    shared.run("9a")
    assert shared.run("diff", "9a") == "No differences.\n"
    found = changes(shared)
    assert {(each["kind"], each["change"]) for each in found} == {("cron trigger", "added")}
    shared.run("9b")
    assert shared.run("diff") == "No differences.\n"
    assert changes(shared, code=0) == []


def test_each_object_is_a_block_with_its_values_before_and_after(shared: Shared, tmp_path: Path) -> None:
    own = make_own(tmp_path / "own")
    crons = own / "cron_triggers.yaml"
    text = crons.read_text()
    former = text[text.index("- name: pancake_check_sla") : text.index("- name: pancake_poll_records")]
    crons.write_text(text + former.replace("check_sla", "former"))
    shared.run("9a")
    shared.run("9b", "--metadata", str(own))
    before = shared.export()
    replace(shared, CRON, schedule="0 * * * *")
    shared.api("drop_action_permission", {"action": "sendNotifications", "role": "pancake_service"})
    shared.api("drop_collection_from_allowlist", {"collection": "pancake"})
    assert shared.export() != before
    changed = shared.export()

    said = shared.run("diff", code=1)

    assert "cron trigger pancake_check_sla\n  schedule  0 * * * * → */5 * * * *\n" in said
    assert "cron trigger pancake_former\n  on the engine  of a former version → removed\n" in said
    assert "allow-list entry pancake\n  on the engine  missing → added\n" in said
    added = "action permission sendNotifications for pancake_service\n  on the engine  missing → added\n"
    assert added in said
    assert shared.export() == changed
    assert {each["change"] for each in changes(shared)} == {"added", "changed", "removed"}


def test_it_shows_what_the_dry_run_shows(shared: Shared) -> None:
    assert shared.run("diff", "9a", code=1) == shared.run("9a", "--dry-run")


def test_what_may_be_a_secret_is_hidden(shared: Shared) -> None:
    """The value of a header, and of a URL all but the host."""
    shared.run("9a")
    definition = shared.pieces()[ACTION]["definition"]
    header = {"name": "X-Handler-Secret", "value": "typed-in-the-console"}
    url = "https://user:typed@crm.example.com/actions?token=typed"
    replace(shared, ACTION, definition=definition | {"handler": url, "headers": [header]})

    said = " ".join(shared.run("diff", "9a", code=1).split())

    assert "typed" not in said
    assert "definition.handler https://crm.example.com/… → {{HANDLERS_URL}}/actions/ingest_record" in said
    assert "definition.headers.X-Handler-Secret.value (hidden) → none" in said


def test_what_writes_headers_is_hidden_at_every_depth() -> None:
    headers = [{"name": "a", "value": "typed"}, {"name": "b", "value_from_env": "HANDLER_SECRET"}]
    transform = {"request_headers": {"add_headers": {"Authorization": "Bearer typed"}}}
    before = {"webhook": "http://[typed", "headers": headers, "request_transform": transform}
    change = Change(CRON, {"definition": before | {"nested": [before]}}, {"definition": {}})
    shown = json.dumps(change.document())
    assert "typed" not in shown
    assert "HANDLER_SECRET" in shown
