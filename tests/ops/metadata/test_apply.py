"""`leads metadata` puts our metadata on an engine that others use too, shows what differs, takes it away."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from leads.services.cron_runs import CRONS
from ops.clients.hasura_admin import Engine, RequestRefused
from ops.metadata.directory import read_directory
from ops.metadata.pieces import Change, Json, Key, foreign, put, same, split
from proofs.incidents.faults import TRIGGER, TRIGGER_SAVED_IN_CONSOLE
from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.diva.project import merge_project
from sandbox.postgres.database import MIGRATIONS
from sandbox.processes import Processes
from sandbox.stack.hasura import start_engine
from tests.support.fake_services import fixed_engine
from tests.support.handlers import seed_connection
from tests.support.metadata import SECRET, Shared, make_own, of_others, running_shared_engine

pytestmark = pytest.mark.own_database

CRON: Key = ("cron trigger", "pancake_check_sla")
ACTION: Key = ("action", "pancake_ingest_record")
FORMER: Key = ("action", "pancake_former")
SOURCE_PERMISSION = {"table": "pancake_source", "role": "crm_admin", "source": "default"}
PERMISSION = {"action": "sendNotifications", "role": "pancake_service"}


def ids(shared: Shared, cron: str) -> set[str]:
    return {event["id"] for event in shared.scheduled(cron)}


def apply_both(shared: Shared) -> None:
    shared.run("9a")
    shared.run("9b")


def changes(shared: Shared, code: int = 1) -> list[Json]:
    found: list[Json] = json.loads(shared.run("diff", "--json", code=code))["changes"]
    return found


def add_former_action(shared: Shared) -> None:
    """Have an action of ours on the engine and in the record, which an older version had."""
    record = next(shared.folder.glob("applied-*.json"))
    former = shared.pieces()[ACTION] | {"name": FORMER[1]}
    shared.api("replace_metadata", put(shared.export(), "default", {FORMER: former}, set()))
    record.write_text(json.dumps([*json.loads(record.read_text()), [*FORMER, former]]))


def test_nothing_of_others_changes_in_9a_9b_and_restore(shared: Shared) -> None:
    """Tables, permissions, actions, types, crons, event triggers, endpoints, and the crons' events."""
    before, events = shared.export(), shared.scheduled("diva_nightly")
    private = shared.api("get_cron_triggers")
    assert "9a must be applied first" in shared.run("9b", code=1)
    assert shared.export() == before
    named = ["table public.pancake_connection", "cron trigger pancake_poll_records"]
    shared.run("verify", "9b", code=1, says=["35 of 35 pieces are missing: ", *named])

    shared.run("9a")
    (backup,) = shared.folder.glob("*-9a.json")
    assert json.loads(backup.read_text())["metadata"] == before
    assert oct(backup.stat().st_mode & 0o777) == "0o600"
    shared.run("verify", "9a")
    after_9a = shared.pieces()
    assert of_others(after_9a) == split(before, "default")
    assert not [name for kind, name in after_9a if kind == "cron trigger" and name.startswith("pancake")]
    assert after_9a["table", "public.pancake_webhook_event"]["event_triggers"]

    shared.run("9b")
    shared.run("verify", "9b")
    after_9b = shared.pieces()
    assert of_others(after_9b) == split(before, "default")
    crons = [name for kind, name in after_9b if kind == "cron trigger" and name.startswith("pancake")]
    assert len(crons) == len(CRONS)
    assert all(shared.scheduled(name) for name in crons)

    shared.run("restore", "9b")
    assert shared.pieces() == after_9a
    shared.run("restore", "9a")
    assert shared.export() == before
    assert shared.scheduled("diva_nightly") == events
    assert shared.api("get_cron_triggers") == private


def test_applying_twice_changes_nothing_and_removing_leaves_nothing_of_ours(shared: Shared) -> None:
    """The backup of the second time has our part already; the removal does not use it."""
    before, events = shared.export(), shared.scheduled("diva_nightly")
    apply_both(shared)
    applied, crons = shared.pieces(), ids(shared, "pancake_retry_failed")
    apply_both(shared)
    assert shared.pieces() == applied
    assert crons <= ids(shared, "pancake_retry_failed")
    shared.run("restore", "9b")
    shared.run("restore", "9a")
    assert shared.pieces() == applied

    shared.run("remove", "9b")
    crons_of_ours = {key for key in applied if key[0] == "cron trigger"} - split(before, "default").keys()
    assert applied.keys() - shared.pieces().keys() == crons_of_ours
    for _ in range(2):
        shared.run("remove", "9a")
        assert shared.export() == before
    assert shared.scheduled("diva_nightly") == events


def test_once_removed_our_tables_may_go_and_all_stays_consistent(database: str, tmp_path: Path) -> None:
    """`remove 9a` takes the crons as well, and what an older version had; then down.sql runs."""
    with running_shared_engine(database, tmp_path / "backups") as shared:
        apply_both(shared)
        add_former_action(shared)
        shared.run("9a")
        assert FORMER not in shared.pieces(), "the next 9a removes it, as recorded"
        add_former_action(shared)
        shared.run("remove", "9a")
        for version in ("1777870069935_add_pancake_settings", "1777870069931_create_pancake_tables"):
            shared.sql((MIGRATIONS / version / "down.sql").read_text())
        shared.api("reload_metadata")
        assert shared.api("get_inconsistent_metadata")["is_consistent"]
        assert of_others(shared.pieces()) == shared.pieces()


def test_what_others_change_meanwhile_or_since_the_backup_stays(shared: Shared) -> None:
    """Replacing is tied to the version that was exported: a change by another client in between wins."""
    shared.run("9a")
    with Engine(shared.url, SECRET) as engine:
        metadata, version = engine.export()
        shared.api("delete_cron_trigger", {"name": "diva_nightly"})
        with pytest.raises(RequestRefused, match="run this again"):
            engine.replace(metadata, version)
    assert ("cron trigger", "diva_nightly") not in shared.pieces()
    shared.run("restore", "9a")
    held = shared.pieces()
    assert {("cron trigger", "diva_nightly"), ("table", "public.pancake_source")} & held.keys() == set()
    assert ("table", "public.ticket") in held


def test_a_backup_without_the_source_is_named_and_changes_nothing(shared: Shared) -> None:
    shared.run("9a")
    (backup,) = shared.folder.glob("*-9a.json")
    content = json.loads(backup.read_text())
    content["metadata"]["sources"][0]["name"] = "other"
    backup.write_text(json.dumps(content))
    before = shared.export()
    assert f"{backup} has no source 'default'. Give another with --backup" in shared.run(
        "restore", "9a", code=1
    )
    assert (shared.export(), list(shared.folder.glob("*-restore.json"))) == (before, [])


def test_drift_in_ours_is_refused_and_named_without_over_drift(shared: Shared) -> None:
    """A permission was dropped in the console, and a cron deleted. A dry run says what would change."""
    before = shared.export()
    assert "table public.pancake_webhook_event\n  on the engine  missing" in shared.run("9a", "--dry-run")
    assert shared.export() == before
    assert not list(shared.folder.glob("*"))
    apply_both(shared)
    assert shared.run("9a", "--dry-run") == "Nothing would change.\n"
    shared.api("pg_drop_select_permission", SOURCE_PERMISSION)
    shared.api("delete_cron_trigger", {"name": "pancake_check_sla"})
    before = shared.export()
    for command in ("9a", "recover", "verify 9a"):
        assert "table public.pancake_source" in shared.run(*command.split(), code=1)
    assert "Changed on the engine" in shared.run("9a", "--dry-run", code=1)
    said = json.loads(shared.run("9a", "--dry-run", "--over-drift", "--json"))
    (change,) = said["changes"]
    assert (said["step"], change["name"], change["change"]) == ("9a", "public.pancake_source", "changed")
    assert [place["path"] for place in change["places"]] == ["select_permissions"]
    assert shared.export() == before
    shared.run("9a", "--over-drift")
    shared.run("verify", "9a")


def test_a_name_that_others_own_is_refused_drift_or_not(shared: Shared, subtests: pytest.Subtests) -> None:
    """And the engine stays as it is. test_merge.py has the other kinds of pieces."""
    cron = {
        "name": "pancake_check_sla", "webhook": "http://diva.internal/x", "schedule": "0 1 * * *",
        "include_in_metadata": True,
    }  # fmt: skip
    trigger = {
        "name": TRIGGER, "source": "default", "table": {"schema": "public", "name": "ticket"},
        "webhook": "http://diva.internal/x", "insert": {"columns": "*"},
    }  # fmt: skip
    taken = "cron trigger pancake_check_sla exists and belongs to another application"
    first = shared.export()
    for kind, args, steps, said in (
        ("create_cron_trigger", cron, ("9a", "9a --over-drift", "remove 9a"), taken),
        ("pg_create_event_trigger", trigger, ("9a", "9a --over-drift"),
         f"the event trigger {TRIGGER} exists on table public.ticket"),
    ):  # fmt: skip
        shared.empty(first)
        shared.api(kind, args)
        before = shared.export()
        for step in steps:
            with subtests.test(step, kind=kind):
                assert said in shared.run(*step.split(), code=1)
                assert shared.export() == before


def test_only_tables_of_the_integration_may_be_tracked_in_another_way(subtests: pytest.Subtests) -> None:
    """Without a record that we applied it."""
    for table in ("pancake_source", "view_pancake_setting", "integration_change", "ticket"):
        with subtests.test(table=table):
            key = ("table", f"public.{table}")
            wanted: dict[str, Any] = {"table": {"name": table, "schema": "public"}}
            held = wanted | {"configuration": {"custom_name": "other"}}
            assert bool(foreign({key: wanted}, {key: held}, {})) is (table == "ticket")


def test_what_of_others_is_inconsistent_already_does_not_stop_us_and_stays(shared: Shared) -> None:
    name, other = "notification_template", "renamed"
    with shared.changed(f"ALTER TABLE {name} RENAME TO {other}", f"ALTER TABLE {other} RENAME TO {name}"):
        shared.api("reload_metadata")
        before = shared.export()
        shared.run("9a", code=1, says=["inconsistent", name])
        assert of_others(shared.pieces()) == split(before, "default")
        shared.run("restore", "9a")
        assert shared.export() == before
    shared.api("reload_metadata")


def test_a_step_that_the_engine_refuses_changes_nothing(shared: Shared) -> None:
    before, rename = shared.export(), "ALTER TABLE {} RENAME TO {}"
    with shared.changed(
        rename.format("pancake_assignee", "other"), rename.format("other", "pancake_assignee")
    ):
        assert "pancake_assignee" in shared.run("9a", code=1)
        assert shared.export() == before


def test_the_future_runs_that_a_refusal_removes_are_put_back_and_warnings_are_shown(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine deletes the runs of a changed cron before it looks whether the metadata fit."""
    apply_both(shared)
    own = make_own(tmp_path / "own")
    crons, table = own / "cron_triggers.yaml", own / "databases/default/tables/public_pancake_source.yaml"
    crons.write_text(crons.read_text().replace("5 minutes: notifies the managers", "5 minutes: tells them"))
    text = table.read_text()
    table.write_text(text.replace("- is_active", "- is_nowhere"))
    before = shared.export()
    back = "The future runs of pancake_check_sla were removed by that and put back"
    shared.run("9b", "--metadata", str(own), code=1, says=["is_nowhere", back])
    assert shared.export() == before
    assert shared.scheduled("pancake_check_sla")

    table.write_text(text)
    send = Engine._send

    def warning(engine: Engine, name: str, *args: Any, **options: Any) -> Any:
        answer = send(engine, name, *args, **options)
        warnings = {"warnings": [{"code": "x", "message": "A name is reserved."}]}
        return answer | warnings if name == "replace_metadata" else answer

    monkeypatch.setattr(Engine, "_send", warning)
    assert "The engine warns: A name is reserved." in shared.run("9b", "--metadata", str(own))


def test_compare_names_each_difference_and_shows_no_engine_the_secret_of_another(shared: Shared) -> None:
    shared.run("9a")
    assert shared.run("compare", "--with", shared.url) == "No differences.\n"
    changed = put(shared.export(), "default", {}, {("cron trigger", "diva_nightly")})
    with fixed_engine(changed) as other:
        said = json.loads(shared.run("compare", "--with", other, "--json", code=1))
        shared.run("compare", "--with", other, "--only-integration")
    assert said["differences"] == [
        {"kind": "cron trigger", "name": "diva_nightly", "of_integration": False, "difference": "only here"}
    ]
    unset = ["HASURA_OTHER_ADMIN_SECRET is not set"]
    shared.run("compare", "--with", "http://127.0.0.1:9", code=2, other_secret="", says=unset)


def test_spellings_that_mean_the_same_are_the_same() -> None:
    """Late engines spell defaults out, older ones leave them out, and lists come in any order."""
    handler = "{{HANDLERS_URL}}/a"
    here = {"name": "a", "definition": {"kind": "synchronous", "handler": handler, "timeout": 30}}
    spelled = {"handler": handler, "ignored_client_headers": ["Host"], "arguments": []}
    there = {"name": "a", "definition": spelled, "comment": ""}
    assert same(here, there)
    assert not same(here, there | {"definition": spelled | {"timeout": 31}})
    rule: Json = {"columns": ["a", "b"], "filter": {"id": {"_in": []}}}
    assert same(rule, {"columns": ["b", "a"], "filter": {"id": {"_in": []}}})
    assert not same(rule, {"columns": ["a", "b"], "filter": {"id": {}}})


def test_the_engine_exports_the_pieces_that_the_cli_reads(database: str, tmp_path: Path) -> None:
    """Taking every piece out and putting it back gives the same."""
    merged = merge_project(tmp_path / "project")
    whole = read_directory(merged)
    read = split(whole, "default")
    movable = {key: piece for key, piece in read.items() if key[0] not in ("setting", "source settings")}
    emptied = put(whole, "default", {}, set(movable))
    assert split(put(emptied, "default", movable, set()), "default") == read

    environment = {
        "PG_DATABASE_URL": database, "HASURA_GRAPHQL_ADMIN_SECRET": SECRET, "HANDLER_SECRET": "secret",
        "HANDLERS_URL": "http://127.0.0.1:9", "NOTIFICATIONS_URL": "http://127.0.0.1:9",
    }  # fmt: skip
    with Processes() as processes:
        running = start_engine(processes, database, metadata=merged, environment=environment)
        engine = Shared(running.url, tmp_path)
        exported = engine.pieces()
        assert engine.api("get_inconsistent_metadata")["is_consistent"]
    assert sorted(exported) == sorted(read)
    assert {"role": "pancake_service"} in exported["action", "sendNotifications"]["permissions"]
    assert [key for key in read if not same(read[key], exported[key])] == []


def test_a_permission_that_9a_gave_is_taken_back_and_one_of_diva_is_not(shared: Shared) -> None:
    before = shared.export()
    shared.run("9a")
    shared.run("remove", "9a")
    assert shared.export() == before
    shared.api("drop_action_permission", PERMISSION)
    without = shared.export()
    for taken_back in ("remove", "restore"):
        shared.run("9a")
        assert shared.export() != without
        shared.run(taken_back, "9a")
        assert shared.export() == without
    shared.run("9a")
    shared.api("drop_action_permission", PERMISSION)
    shared.run("verify", "9a", code=1, says=["sendNotifications is not allowed for pancake_service"])
    shared.run("9a")
    shared.run("verify", "9a")


def test_what_others_broke_is_named_and_no_value_that_may_be_a_secret(shared: Shared) -> None:
    """The engine calls a missing or a disabled SQL trigger consistent, and no lead is processed."""
    shared.run("9a")
    shared.api("pg_create_event_trigger", TRIGGER_SAVED_IN_CONSOLE)
    header = {"name": "X-Handler-Secret", "value": "typed-in-the-console"}
    url = "https://user:typed@crm.example.com/actions?token=typed"
    definition = shared.pieces()[ACTION]["definition"]
    shared.edit(ACTION, definition=definition | {"handler": url, "headers": [header]})
    inserting, updating = (f'"notify_hasura_{TRIGGER}_{operation}"' for operation in ("INSERT", "UPDATE"))
    shared.sql(f"DROP TRIGGER {inserting} ON pancake_webhook_event")
    shared.sql(f"ALTER TABLE pancake_webhook_event DISABLE TRIGGER {updating}")
    said = shared.run("verify", "9a", code=1)
    place = f"event_triggers.{TRIGGER}.definition"
    for text in (
        f"{place}.insert.payload, {place}.update.payload (all columns are delivered, and Hasura's event",
        f"the SQL trigger notify_hasura_{TRIGGER}_INSERT is missing on table",
        f"the SQL trigger notify_hasura_{TRIGGER}_UPDATE is disabled on table",
        "action pancake_ingest_record differs: definition.handler (Hasura calls another address than the",
    ):
        assert "".join(text.split()) in "".join(said.split())  # it is wrapped
    shown = " ".join(shared.run("diff", "9a", code=1).split())
    assert "typed" not in said + shown
    assert "definition.handler https://crm.example.com/… → {{HANDLERS_URL}}/actions/ingest_record" in shown
    assert "definition.headers.X-Handler-Secret.value (hidden) → none" in shown


def test_what_writes_headers_is_hidden_at_every_depth() -> None:
    headers = [{"name": "a", "value": "typed"}, {"name": "b", "value_from_env": "HANDLER_SECRET"}]
    transform = {"request_headers": {"add_headers": {"Authorization": "Bearer typed"}}}
    before = {"webhook": "http://[typed", "headers": headers, "request_transform": transform}
    change = Change(CRON, {"definition": before | {"nested": [before]}}, {"definition": {}})
    shown = json.dumps(change.document())
    assert "typed" not in shown
    assert "HANDLER_SECRET" in shown


def test_a_diff_shows_each_object_with_its_values_and_changes_nothing(shared: Shared, tmp_path: Path) -> None:
    """The cron triggers come with 9b. It shows what the dry run shows."""
    assert shared.run("diff", "9a", code=1) == shared.run("9a", "--dry-run")
    own = make_own(tmp_path / "own")
    crons = own / "cron_triggers.yaml"
    text = crons.read_text()
    former = text[text.index("- name: pancake_check_sla") : text.index("- name: pancake_poll_records")]
    crons.write_text(text + former.replace("check_sla", "former"))
    shared.run("9a")
    assert shared.run("diff", "9a") == "No differences.\n"
    assert {(each["kind"], each["change"]) for each in changes(shared)} == {("cron trigger", "added")}
    shared.run("9b")
    assert shared.run("diff") == "No differences.\n"
    assert changes(shared, code=0) == []
    shared.run("9b", "--metadata", str(own))
    shared.edit(CRON, schedule="0 * * * *")
    shared.api("drop_action_permission", PERMISSION)
    shared.api("drop_collection_from_allowlist", {"collection": "pancake"})
    changed = shared.export()
    said = shared.run("diff", code=1)
    for name, change in (
        ("cron trigger pancake_check_sla", "schedule  0 * * * * → */5 * * * *"),
        ("cron trigger pancake_former", "on the engine  of a former version → removed"),
        ("allow-list entry pancake", "on the engine  missing → added"),
        ("action permission sendNotifications for pancake_service", "on the engine  missing → added"),
    ):
        assert f"{name}\n  {change}\n" in said
    assert shared.export() == changed
    assert {each["change"] for each in changes(shared)} == {"added", "changed", "removed"}


def test_an_inconsistent_cron_has_no_number_of_events() -> None:
    """A genuine engine does not know an inconsistent cron trigger; any other refusal ends the check."""
    refusal = {"path": "$.args", "error": "cron trigger with name: x does not exist", "code": "not-exists"}
    answer = httpx.MockTransport(lambda request: httpx.Response(400, json=refusal))
    with Engine("http://engine.test", SECRET, transport=answer) as engine:
        assert engine.future_events(["x"]) == {"x": None}
        refusal["code"] = "busy"
        with pytest.raises(RequestRefused):
            engine.future_events(["x"])


def test_after_a_wipe_one_command_brings_ours_back(shared: Shared) -> None:
    """`hasura metadata apply` from a project without ours: no option is asked for, theirs stays."""
    project_of_diva = read_directory(DIVA_METADATA)
    for action in project_of_diva["actions"]:
        action["permissions"] = []
    seed_connection(shared.database_url)
    apply_both(shared)
    shared.api("replace_metadata", project_of_diva)
    assert shared.pieces() == of_others(shared.pieces())
    columns = "connection_id, origin, payload_hash, status, arrived_at, created_at"
    values = "SELECT id, 'webhook', sha256('x'), 'received', now(), now() FROM pancake_connection"
    shared.sql(f"INSERT INTO pancake_webhook_event ({columns}) {values}")
    shared.run("recover", says=["1 row waits to be processed; 1 of them had no event"])
    shared.run("verify", "9b")
    assert of_others(shared.pieces()).keys() == split(project_of_diva, "default").keys()
    assert shared.count("pg_trigger", "tgname LIKE 'notify_hasura_pancake%'") == 2
