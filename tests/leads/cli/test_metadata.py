"""`leads metadata` on an engine that holds Diva's metadata and more of other applications."""

import json
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.__main__ import app
from leads.cli.metadata.directory import read_directory
from leads.cli.metadata.engine import Engine, MetadataError
from leads.cli.metadata.normal import same
from leads.cli.metadata.pieces import Json, put, split
from leads.services.cron_runs import CRONS
from sandbox.diva.project import merge_project
from tests.support.fake_services import fixed_engine
from tests.support.shared_engine import SECRET, Shared, of_others

pytestmark = pytest.mark.own_database

ROOT = Path(__file__).parents[3]
MIGRATIONS = ROOT / "hasura" / "migrations" / "default"


def test_nothing_of_others_changes_in_9a_9b_and_restore(shared: Shared) -> None:
    """Tables, permissions, actions, types, crons, event triggers, endpoints, and the crons' events."""
    before, events = shared.export(), shared.scheduled("diva_nightly")
    private = shared.api("get_cron_triggers")

    shared.run("9a")
    shared.run("verify", "9a")
    after_9a = shared.pieces()
    assert of_others(after_9a) == split(before, "default")
    assert not [name for kind, name in after_9a if kind == "cron trigger" and name.startswith("pancake")]
    assert ("table", "public.pancake_webhook_event") in after_9a
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


def test_a_restore_keeps_what_others_changed_since_the_backup(shared: Shared) -> None:
    """Only the integration's metadata is restored."""
    shared.run("9a")
    shared.api("delete_cron_trigger", {"name": "diva_nightly"})

    shared.run("restore", "9a")

    assert ("cron trigger", "diva_nightly") not in shared.pieces()
    assert ("table", "public.pancake_source") not in shared.pieces()
    assert ("table", "public.ticket") in shared.pieces()


def test_the_secret_of_one_engine_is_not_shown_to_another(shared: Shared) -> None:
    """Without the other's own secret nothing is compared."""
    said = shared.run("compare", "--with", "http://127.0.0.1:9", code=2, other_secret="")
    assert "HASURA_OTHER_ADMIN_SECRET is not set" in said


def test_9b_before_9a_is_refused(shared: Shared) -> None:
    """Nothing changes, and no backup is needed."""
    before = shared.export()
    assert "9a must be applied first" in shared.run("9b", code=1)
    assert shared.export() == before


def test_applying_twice_changes_nothing(shared: Shared) -> None:
    """The same directory again: no drift, no difference."""
    shared.run("9a")
    shared.run("9b")
    before, events = shared.export(), ids(shared, "pancake_retry_failed")
    shared.run("9a")
    shared.run("9b")
    assert shared.export() == before
    assert events <= ids(shared, "pancake_retry_failed")


def ids(shared: Shared, cron: str) -> set[str]:
    """The scheduled events of a cron, delivered or not."""
    return {event["id"] for event in shared.scheduled(cron)}


def test_drift_in_ours_is_refused_without_over_drift(shared: Shared) -> None:
    """A permission was dropped in the console: refused and named; --over-drift restores it."""
    shared.run("9a")
    permission = {"table": "pancake_source", "role": "crm_admin", "source": "default"}
    shared.api("pg_drop_select_permission", permission)

    assert "table public.pancake_source" in shared.run("9a", code=1)
    assert "table public.pancake_source differs" in shared.run("verify", "9a", code=1)
    shared.run("9a", "--over-drift")
    shared.run("verify", "9a")


@pytest.mark.parametrize(
    ("kind", "args", "said"),
    [
        (
            "create_cron_trigger",
            {"name": "pancake_check_sla", "webhook": "http://diva.internal/x", "schedule": "0 1 * * *",
             "include_in_metadata": True},
            "cron trigger pancake_check_sla exists and belongs to another application",
        ),
        (
            "create_rest_endpoint",
            {"name": "theirs", "url": "pancake/record", "methods": ["POST"],
             "definition": {"query": {"collection_name": "diva", "query_name": "staff"}}},
            "the path pancake/record belongs to the REST endpoint theirs",
        ),
        (
            "create_query_collection",
            {"name": "pancake",
             "definition": {"queries": [{"name": "x", "query": "query X { staff { id } }"}]}},
            "query collection pancake exists and belongs to another application",
        ),
        (
            "pg_create_event_trigger",
            {"name": "pancake_webhook_event_status_update", "source": "default",
             "table": {"schema": "public", "name": "ticket"}, "webhook": "http://diva.internal/x",
             "insert": {"columns": "*"}},
            "the event trigger pancake_webhook_event_status_update exists on table public.ticket",
        ),
    ],
)  # fmt: skip
def test_a_name_that_others_own_is_refused(shared: Shared, kind: str, args: Json, said: str) -> None:
    """Neither 9a nor 9b goes over it, drift or not; the engine stays as it is."""
    shared.api(kind, args)
    before = shared.export()
    assert said in shared.run("9a", code=1)
    assert said in shared.run("9a", "--over-drift", code=1)
    assert shared.export() == before


def test_what_of_others_is_inconsistent_already_does_not_stop_us_and_stays(
    shared: Shared, database: str
) -> None:
    """Theirs is neither mended nor dropped; verify names it."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE notification_template RENAME TO renamed_by_somebody")
    shared.api("reload_metadata")
    before = shared.export()

    said = shared.run("9a", code=1)

    assert "inconsistent" in said
    assert "notification_template" in said
    assert of_others(shared.pieces()) == split(before, "default")
    shared.run("restore", "9a")
    assert shared.export() == before


def test_an_engine_that_was_changed_meanwhile_is_left_alone(shared: Shared) -> None:
    """Replacing is tied to the version that was exported: a change by another client in between wins."""
    with HasuraAdmin(shared.url, SECRET) as hasura:
        engine = Engine(hasura)
        metadata, version = engine.export()
        shared.api("delete_cron_trigger", {"name": "diva_nightly"})
        with pytest.raises(MetadataError, match="run this again"):
            engine.replace(metadata, version)
    assert ("cron trigger", "diva_nightly") not in shared.pieces()


def test_a_step_that_the_engine_refuses_changes_nothing(shared: Shared, database: str) -> None:
    """Our tables are not migrated: the engine names what does not fit, and nothing of it stays."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP TABLE pancake_assignee CASCADE")
    before = shared.export()

    assert "pancake_assignee" in shared.run("9a", code=1)

    assert shared.export() == before


def test_verify_says_what_is_missing(shared: Shared) -> None:
    """Before anything is applied, each piece is named."""
    said = shared.run("verify", "9b", code=1)
    assert "table public.pancake_connection is missing" in said
    assert "cron trigger pancake_poll_records is missing" in said


def test_a_piece_that_left_the_directory_leaves_the_engine(shared: Shared, tmp_path: Path) -> None:
    """An older version had one action more: the next 9a removes it, as recorded."""
    shared.run("9a")
    record = next(shared.folder.glob("applied-*.json"))
    exported = shared.export()
    action = shared.pieces()["action", "pancake_ingest_record"] | {"name": "pancake_former"}
    shared.api("replace_metadata", put(exported, "default", {("action", "pancake_former"): action}, set()))
    record.write_text(json.dumps([*json.loads(record.read_text()), ["action", "pancake_former", action]]))

    shared.run("9a")

    assert ("action", "pancake_former") not in shared.pieces()


def test_the_backup_is_the_whole_metadata_for_its_owner_only(shared: Shared) -> None:
    """`backup` prints the file's path."""
    path = Path(shared.run("backup").strip())
    assert json.loads(path.read_text())["metadata"] == shared.export()
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_compare_names_each_difference(shared: Shared, database: str) -> None:
    """An engine against itself is equal; against one with a piece less it is not, and says which."""
    shared.run("9a")
    assert shared.run("compare", "--with", shared.url) == "No differences.\n"
    changed = put(shared.export(), "default", {}, {("cron trigger", "diva_nightly")})
    with fixed_engine(changed) as other:
        said = json.loads(shared.run("compare", "--with", other, "--json", code=1))
        shared.run("compare", "--with", other, "--only-integration")
    assert said["differences"] == [
        {"kind": "cron trigger", "name": "diva_nightly", "of_integration": False, "difference": "only here"}
    ]


def test_an_engine_that_is_no_engine_is_named(tmp_path: Path) -> None:
    """Exit code 3 and the URL; missing variables end with 2."""
    assert "does not answer: Connection refused" in Shared("http://127.0.0.1:9", tmp_path).run("9a", code=3)
    result = CliRunner().invoke(
        app, ["metadata", "backup"], env={"HASURA_URL": "", "HASURA_ADMIN_SECRET": ""}
    )
    assert result.exit_code == 2


def test_spellings_that_mean_the_same_are_the_same() -> None:
    """Late engines spell defaults out, older ones leave them out, and lists come in any order."""
    here = {
        "name": "a",
        "definition": {"kind": "synchronous", "handler": "{{HANDLERS_URL}}/a", "timeout": 30},
    }
    there = {
        "name": "a",
        "definition": {"handler": "{{HANDLERS_URL}}/a", "ignored_client_headers": ["Host"], "arguments": []},
        "comment": "",
    }
    assert same(here, there)
    assert not same(here, there | {"definition": there["definition"] | {"timeout": 31}})  # type: ignore[operator]
    rule: Json = {"columns": ["a", "b"], "filter": {"id": {"_in": []}}}
    assert same(rule, {"columns": ["b", "a"], "filter": {"id": {"_in": []}}})
    assert not same(rule, {"columns": ["a", "b"], "filter": {"id": {}}})


def test_the_pieces_are_the_whole_metadata(tmp_path: Path) -> None:
    """Taking every piece out and putting it back gives the same metadata again."""
    whole = read_directory(merge_project(tmp_path / "project"))
    pieces = split(whole, "default")
    movable = {key: piece for key, piece in pieces.items() if key[0] not in ("setting", "source settings")}
    emptied = put(whole, "default", {}, set(movable))
    assert split(put(emptied, "default", movable, set()), "default") == pieces
