"""`leads metadata verify` names what others broke, and `recover` puts back what a wipe removed."""

import httpx
import psycopg
import pytest

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.metadata.checks import find_idle_crons
from leads.cli.metadata.directory import read_directory
from leads.cli.metadata.engine import Engine, MetadataError
from leads.cli.metadata.pieces import Json, put, split
from sandbox.diva import METADATA as DIVA_METADATA
from tests.support.console import TRIGGER, TRIGGER_SAVED_IN_CONSOLE
from tests.support.fake_services import fixed_engine
from tests.support.seeding import seed_connection
from tests.support.shared_engine import SECRET, Shared, of_others

pytestmark = pytest.mark.own_database

PERMISSION = {"action": "sendNotifications", "role": "pancake_service"}


def test_a_notification_that_is_not_allowed_is_a_problem_and_9a_allows_it(shared: Shared) -> None:
    shared.run("9a")
    shared.api("drop_action_permission", PERMISSION)

    said = shared.run("verify", "9a", code=1)
    assert "the action sendNotifications is not allowed for pancake_service" in said

    shared.run("9a")
    shared.run("verify", "9a")


def test_the_permission_that_9a_gave_is_taken_back_and_one_of_diva_is_not(shared: Shared) -> None:
    before = shared.export()
    shared.run("9a")
    shared.run("remove", "9a")
    assert shared.export() == before

    shared.api("drop_action_permission", PERMISSION)
    before = shared.export()
    shared.run("9a")
    assert shared.export() != before
    shared.run("remove", "9a")
    assert shared.export() == before
    shared.run("9a")
    shared.run("restore", "9a")
    assert shared.export() == before


def test_payload_columns_that_the_console_drops_are_named(shared: Shared) -> None:
    shared.run("9a")
    shared.api("pg_create_event_trigger", TRIGGER_SAVED_IN_CONSOLE)

    said = shared.run("verify", "9a", code=1)

    place = f"event_triggers.{TRIGGER}.definition"
    assert f"{place}.insert.payload (all columns are delivered, and Hasura's event log gets whole" in said
    assert f"{place}.update.payload (the same)" in said


def test_a_difference_is_named_without_its_value(shared: Shared) -> None:
    """A header's value may be a secret that a person entered."""
    shared.run("9a")
    action = shared.pieces()["action", "pancake_ingest_record"]
    header = {"name": "X-Handler-Secret", "value": "typed-in-the-console"}
    changed = action | {"definition": action["definition"] | {"headers": [header]}}
    shared.api(
        "replace_metadata", put(shared.export(), "default", {("action", action["name"]): changed}, set())
    )

    said = shared.run("verify", "9a", code=1)

    assert "action pancake_ingest_record differs: definition.headers.X-Handler-Secret.value" in said
    assert "typed-in-the-console" not in said


def test_a_sql_trigger_that_is_missing_or_disabled_is_named(shared: Shared, database: str) -> None:
    """The engine calls this consistent, and no lead is processed."""
    shared.run("9a")
    inserting, updating = (f'"notify_hasura_{TRIGGER}_{operation}"' for operation in ("INSERT", "UPDATE"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"DROP TRIGGER {inserting} ON pancake_webhook_event".encode())
        connection.execute(f"ALTER TABLE pancake_webhook_event DISABLE TRIGGER {updating}".encode())

    said = shared.run("verify", "9a", code=1)

    for operation, state in (("INSERT", "missing"), ("UPDATE", "disabled")):
        assert f"the SQL trigger notify_hasura_{TRIGGER}_{operation} is {state} on table" in said


@pytest.mark.parametrize("code", ["not-exists", "busy"])
def test_an_inconsistent_cron_is_named(code: str) -> None:
    """A genuine engine does not know an inconsistent cron trigger; any other refusal ends the check."""
    refusal = {"path": "$.args", "error": "cron trigger with name: x does not exist", "code": code}
    answer = httpx.MockTransport(lambda request: httpx.Response(400, json=refusal))
    with HasuraAdmin("http://engine.test", SECRET, transport=answer) as hasura:
        if code == "not-exists":
            said = ["cron trigger x is inconsistent: the engine does not run it"]
            assert find_idle_crons(Engine(hasura), ["x"], 0) == said
        else:
            with pytest.raises(MetadataError):
                find_idle_crons(Engine(hasura), ["x"], 0)


def test_after_a_wipe_one_command_brings_ours_back(shared: Shared, database: str) -> None:
    """`hasura metadata apply` from a project without ours: no option is asked for, theirs stays."""
    connection_id = seed_connection(database)
    shared.run("9a")
    shared.run("9b")
    shared.api("replace_metadata", _project_of_diva())
    assert shared.pieces() == of_others(shared.pieces())
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO pancake_webhook_event"
            " (connection_id, origin, payload_hash, status, arrived_at, created_at)"
            " VALUES (%s, 'webhook', sha256('x'), 'received', now(), now())",
            [connection_id],
        )

    said = shared.run("recover")

    assert "1 rows wait to be processed; 1 of them had no event" in said
    shared.run("verify", "9b")
    assert of_others(shared.pieces()).keys() == split(_project_of_diva(), "default").keys()
    with psycopg.connect(database) as connection:
        installed = connection.execute(
            "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'notify_hasura_pancake%'"
        ).fetchone()
    assert installed == (2,)


def test_recovering_does_not_overwrite_what_was_changed(shared: Shared) -> None:
    shared.run("9a")
    shared.run("9b")
    permission = {"table": "pancake_source", "role": "crm_admin", "source": "default"}
    shared.api("pg_drop_select_permission", permission)
    shared.api("delete_cron_trigger", {"name": "pancake_check_sla"})
    before = shared.export()

    assert "table public.pancake_source" in shared.run("recover", code=1)

    assert shared.export() == before


def test_an_engine_without_a_source_asks_for_the_metadata_of_diva(shared: Shared) -> None:
    """`hasura metadata clear` removes the source too."""
    with fixed_engine({"version": 3, "sources": []}) as url:
        said = Shared(url, shared.folder).run("recover", code=2)
    assert "its metadata was cleared. Apply Diva's metadata first" in said


def _project_of_diva() -> Json:
    """Diva's own project: it knows nothing of us, and its action has no permission for our role."""
    project = read_directory(DIVA_METADATA)
    for action in project["actions"]:
        action["permissions"] = []
    return project
