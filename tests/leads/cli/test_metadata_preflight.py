"""`leads metadata 9a` looks at the engine first: what would not work is named, and nothing is changed."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.metadata.deploy import Deployment
from leads.cli.metadata.directory import DIRECTORY, read_directory
from leads.cli.metadata.engine import Engine, MetadataError
from leads.cli.metadata.files import Files
from tests.support.hasura_project import make_own
from tests.support.shared_engine import SECRET, Shared, running_shared_engine

pytestmark = pytest.mark.own_database

TRIGGER = '"notify_hasura_pancake_webhook_event_status_update_INSERT"'
Change = Callable[[Any], None]


class Altered(httpx.BaseTransport):
    """Passes requests on, and alters what the engine answers to one of them."""

    def __init__(self, path: str, kind: str, change: Change) -> None:
        self._path, self._kind, self._change = path, kind, change

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with httpx.HTTPTransport() as engine:
            answer = engine.handle_request(request)
            body = json.loads(answer.read())
        if request.url.path == self._path and self._kind.encode() in request.content:
            self._change(body)
        return httpx.Response(answer.status_code, json=body)


def refusal(shared: Shared, transport: httpx.BaseTransport, accepted: str = "") -> str:
    """Return what 9a says when it refuses; empty if it is applied."""
    with HasuraAdmin(shared.url, SECRET, transport=transport) as hasura:
        files = Files(shared.folder, shared.url)
        own = read_directory(DIRECTORY)
        deployment = Deployment(Engine(hasura), files, own, "default", accepted_engine=accepted)
        try:
            deployment.apply("9a", over_drift=False)
        except MetadataError as error:
            return str(error)
    return ""


def rename(answer: Any, **customization: Any) -> None:
    answer["metadata"]["sources"][0]["customization"] = customization


NOT_FITTING: list[tuple[str, str, Change, str]] = [
    ("/v1/version", "", lambda a: a.update(version="v2.48.10"), "the engine is v2.48.10: v2.50.6 or"),
    ("/v1/version", "", lambda a: a.update(version="v2.49.2"), "the engine is v2.49.2: v2.50.6 or"),
    ("/v1/version", "", lambda a: a.update(version="dev-12"), "the engine is dev-12: v2.50.6 or"),
    ("/v1alpha1/config", "", lambda a: a.update(default_naming_convention="graphql-default"),
     "the naming convention is graphql-default"),
    ("/v1/metadata", "export_metadata", lambda a: rename(a, naming_convention="graphql-default"),
     "the naming convention is graphql-default"),
    ("/v1/metadata", "export_metadata", lambda a: rename(a, root_fields={"prefix": "crm_"}),
     "the source gives root_fields the prefix 'crm_'"),
    ("/v1/metadata", "export_metadata", lambda a: a["metadata"].update(actions=[]),
     "the action sendNotifications is missing"),
]  # fmt: skip


def test_an_engine_that_does_not_fit_is_left_as_it_is(shared: Shared) -> None:
    before = shared.export()
    for path, kind, change, said in NOT_FITTING:
        assert said in refusal(shared, Altered(path, kind, change))
    assert shared.export() == before
    assert not list(shared.folder.glob("*"))


def test_an_old_engine_may_be_accepted_by_its_version(shared: Shared) -> None:
    old = Altered("/v1/version", "", lambda answer: answer.update(version="v2.48.10"))
    assert "v2.48.10" in refusal(shared, old, accepted="v2.48.9")
    assert refusal(shared, old, accepted="v2.48.10") == ""


@pytest.mark.parametrize("lacking", ["HANDLERS_URL", "HANDLER_SECRET"])
@pytest.mark.parametrize("internal", ["true", "false"])
@pytest.mark.parametrize("is_foreign_inconsistent", [False, True])
def test_a_variable_that_the_engine_lacks_is_named(
    database: str, tmp_path: Path, lacking: str, internal: str, is_foreign_inconsistent: bool
) -> None:
    """With the setting `false` the engine answers no details; next to other faults it takes our step."""
    setting = {"HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS": internal}
    with running_shared_engine(database, tmp_path / "backups", without=lacking, **setting) as engine:
        if is_foreign_inconsistent:
            metadata = engine.export()
            metadata["cron_triggers"][0]["webhook"] = "{{URL_OF_ANOTHER_APPLICATION}}/nightly"
            arguments = {"allow_inconsistent_metadata": True, "metadata": metadata}
            engine.api("replace_metadata", arguments, version=2)
        consistency = engine.api("get_inconsistent_metadata")
        assert consistency["is_consistent"] is not is_foreign_inconsistent
        before = engine.api("export_metadata", version=2)

        said = engine.run("9a", code=1)

        assert said.count("the engine has no environment variable") == 1
        assert f"environment variable {lacking}:" in said
        assert "Nothing was changed" in said
        assert engine.api("export_metadata", version=2) == before
        assert engine.api("get_inconsistent_metadata") == consistency
    with psycopg.connect(database) as connection:
        probes = connection.execute(
            "SELECT count(*) FROM hdb_catalog.hdb_cron_events WHERE trigger_name LIKE 'pancake%'"
        )
        assert probes.fetchone() == (0,)


def test_a_variable_that_should_never_be_set_is_refused(database: str, tmp_path: Path) -> None:
    is_set = {"PANCAKE_PREFLIGHT_NEVER_SET": "set"}
    with running_shared_engine(database, tmp_path / "backups", **is_set) as engine:
        said = " ".join(engine.run("9a", code=1).split())
    assert "The engine has the variable PANCAKE_PREFLIGHT_NEVER_SET" in said
    assert "Delete the trigger" in said


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("CREATE TABLE hdb_catalog.hdb_source_catalog_version (version text);"
         " INSERT INTO hdb_catalog.hdb_source_catalog_version VALUES ('3')",
         "the source has Hasura's catalog 3, 4 or later is needed"),
        ("REVOKE INSERT ON hdb_catalog.event_log FROM pancake_handlers",
         "the role pancake_handlers cannot store a lead: permission denied for table event_log"),
        ("REVOKE USAGE ON SCHEMA hdb_catalog FROM pancake_handlers",
         "the role pancake_handlers cannot store a lead: permission denied for schema hdb_catalog"),
        ("DROP TABLE pancake_webhook_event CASCADE",
         'cannot store a lead: relation "public.pancake_webhook_event" does not exist'),
    ],
)  # fmt: skip
def test_a_database_that_does_not_fit_is_named(shared: Shared, database: str, broken: str, said: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(broken.encode())
    before = shared.export()

    assert said in shared.run("9a", code=1)

    assert shared.export() == before


def test_a_missing_sql_trigger_stops_the_next_9a(shared: Shared, database: str) -> None:
    """The engine would not install it again: for it nothing changed."""
    shared.run("9a")
    with psycopg.connect(database) as connection:
        connection.execute(f"DROP TRIGGER {TRIGGER} ON pancake_webhook_event".encode())
    before = shared.export()

    said = shared.run("9a", code=1)

    assert "the SQL trigger notify_hasura_pancake_webhook_event_status_update_INSERT is missing" in said
    assert "Nothing was changed" in said
    assert shared.export() == before
    install_again = said.partition("Install it again:\n")[2]
    variables = {**os.environ, "HASURA_URL": shared.url, "HASURA_ADMIN_SECRET": SECRET}
    subprocess.run(["sh", "-c", install_again], env=variables, check=True, capture_output=True, timeout=30)
    shared.run("9a")


def test_an_allow_list_without_our_entries_is_named_and_9a_adds_them(database: str, tmp_path: Path) -> None:
    entries = yaml.safe_load((DIRECTORY / "allow_list.yaml").read_text())
    names = ", ".join(entry["collection"] for entry in entries)
    said = f"The engine's allow list is on, without our entries: {names}."
    is_on = {"HASURA_GRAPHQL_ENABLE_ALLOWLIST": "true"}
    with running_shared_engine(database, tmp_path / "backups", **is_on) as engine:
        assert said in engine.run("9a", "--dry-run")
        assert said in engine.run("9a")
        assert "allow list" not in engine.run("9a")
        engine.api("drop_collection_from_allowlist", {"collection": "pancake_calls"})
        verified = engine.run("verify", "9a", code=1)
    assert "allow-list entry pancake_calls is missing: Hasura stops its calls" in verified


def test_a_directory_without_an_entry_for_the_allow_list_is_refused(database: str, tmp_path: Path) -> None:
    """While the list is off, nothing needs the entry."""
    own = make_own(tmp_path / "own")
    (own / "allow_list.yaml").write_text("- collection: pancake\n  scope:\n    global: true\n")
    said = "allow-list entry pancake_calls is missing: Hasura stops its calls"
    is_on = {"HASURA_GRAPHQL_ENABLE_ALLOWLIST": "true"}
    with running_shared_engine(database, tmp_path / "backups", **is_on) as engine:
        before = engine.export()
        assert said in engine.run("9a", "--metadata", str(own), code=1)
        assert engine.export() == before
    with running_shared_engine(database, tmp_path / "backups") as engine:
        assert "allow list" not in engine.run("9a", "--dry-run", "--metadata", str(own))


def test_a_dry_run_shows_what_would_change_and_changes_nothing(shared: Shared) -> None:
    before = shared.export()
    assert "table public.pancake_webhook_event\n  on the engine  missing" in shared.run("9a", "--dry-run")
    assert shared.export() == before
    assert not list(shared.folder.glob("*"))

    shared.run("9a")
    assert shared.run("9a", "--dry-run") == "Nothing would change.\n"
    permission = {"table": "pancake_source", "role": "crm_admin", "source": "default"}
    shared.api("pg_drop_select_permission", permission)
    assert "Changed on the engine" in shared.run("9a", "--dry-run", code=1)
    said = json.loads(shared.run("9a", "--dry-run", "--over-drift", "--json"))
    (change,) = said["changes"]
    assert (said["step"], change["name"], change["change"]) == ("9a", "public.pancake_source", "changed")
    assert [place["path"] for place in change["places"]] == ["select_permissions"]


def test_the_attempt_to_store_a_lead_leaves_nothing(shared: Shared, database: str) -> None:
    shared.run("9a")
    tables = ("pancake_connection", "pancake_webhook_event", "integration_change")
    with psycopg.connect(database) as connection:
        for table in tables:
            assert connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,), table
        events = connection.execute("SELECT payload ->> 'op' FROM hdb_catalog.event_log").fetchall()
    assert events == [("MANUAL",)]  # the probe event, which is delivered afterwards


def test_an_engine_that_may_not_act_as_the_handlers_is_asked_for_their_rights(
    shared: Shared, database: str
) -> None:
    """The role of the engine is often the owner of the tables, and no superuser."""

    def cannot_act(answer: Any) -> None:
        answer["result"] = [["refusal"], ['permission denied to set role "pancake_handlers"']]

    transport = Altered("/v2/query", "preflight", cannot_act)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("REVOKE INSERT ON hdb_catalog.event_log FROM pancake_handlers")
        assert "a right on hdb_catalog is missing" in refusal(shared, transport)
        connection.execute("GRANT INSERT ON hdb_catalog.event_log TO pancake_handlers")
    assert refusal(shared, transport) == ""
