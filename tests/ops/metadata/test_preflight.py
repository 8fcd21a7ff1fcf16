"""`leads metadata 9a` looks at the engine first, and a probe event goes through it to the handlers after."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import yaml

from ops.clients.hasura_admin import Engine
from ops.failures import CommandFailed
from ops.metadata.command import deliver_probe, judge
from ops.metadata.deploy import Deployment, Files, open_deployment
from ops.metadata.directory import DIRECTORY, read_directory
from sandbox.postgres.database import grant_rights
from tests.support.metadata import SECRET, Shared, make_own, running_shared_engine

pytestmark = pytest.mark.own_database

TRIGGER = "pancake_webhook_event_status_update"
SQL_TRIGGER = f"notify_hasura_{TRIGGER}_INSERT"
TABLES = ("pancake_connection", "pancake_webhook_event", "integration_change")
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
    with Engine(shared.url, SECRET, transport=transport) as engine:
        files, own = Files(shared.folder, shared.url), read_directory(DIRECTORY)
        deployment = Deployment(engine, files, own, "default", accepted_engine=accepted)
        try:
            deployment.apply("9a", over_drift=False)
        except CommandFailed as error:
            return str(error)
    return ""


def set_version(version: str) -> Change:
    return lambda answer: answer.update(version=version)


def customize(**customization: Any) -> Change:
    def change(answer: Any) -> None:
        answer["metadata"]["sources"][0]["customization"] = customization

    return change


NOT_FITTING: list[tuple[str, str, Change, str]] = [
    ("/v1/version", "", set_version("v2.48.10"), "the engine is v2.48.10: v2.50.6 or"),
    ("/v1alpha1/config", "", lambda a: a.update(default_naming_convention="graphql-default"),
     "the naming convention is graphql-default"),
    ("/v1/metadata", "export_metadata", customize(naming_convention="graphql-default"),
     "the naming convention is graphql-default"),
    ("/v1/metadata", "export_metadata", customize(root_fields={"prefix": "crm_"}),
     "the source gives root_fields the prefix 'crm_'"),
    ("/v1/metadata", "export_metadata", lambda a: a["metadata"].update(actions=[]),
     "the action sendNotifications is missing"),
]  # fmt: skip
WRONG_DATABASE = [
    ("CREATE TABLE hdb_catalog.hdb_source_catalog_version AS SELECT '3' AS version",
     "DROP TABLE hdb_catalog.hdb_source_catalog_version",
     "the source has Hasura's catalog 3, 4 or later is needed"),
    ("REVOKE INSERT ON hdb_catalog.event_log FROM pancake_handlers",
     "GRANT INSERT ON hdb_catalog.event_log TO pancake_handlers",
     "the role pancake_handlers cannot store a lead: permission denied for table event_log"),
    ("REVOKE USAGE ON SCHEMA hdb_catalog FROM pancake_handlers",
     "GRANT USAGE ON SCHEMA hdb_catalog TO pancake_handlers",
     "the role pancake_handlers cannot store a lead: permission denied for schema hdb_catalog"),
    ("ALTER TABLE pancake_webhook_event RENAME TO other", "ALTER TABLE other RENAME TO pancake_webhook_event",
     'cannot store a lead: relation "public.pancake_webhook_event" does not exist'),
]  # fmt: skip


def test_what_does_not_fit_is_left_as_it_is(shared: Shared, subtests: pytest.Subtests) -> None:
    """An engine, or a database. An old engine may be accepted by its version."""
    before = shared.export()
    for path, kind, change, said in NOT_FITTING:
        with subtests.test(said):
            assert said in refusal(shared, Altered(path, kind, change))
    assert not list(shared.folder.glob("*"))
    for broken, mended, said in WRONG_DATABASE:
        with subtests.test(said), shared.changed(broken, mended):
            assert said in shared.run("9a", code=1)
    assert shared.export() == before
    old = Altered("/v1/version", "", set_version("v2.48.10"))
    assert "v2.48.10" in refusal(shared, old, accepted="v2.48.9")
    assert refusal(shared, old, accepted="v2.48.10") == ""


@pytest.mark.parametrize(("lacking", "internal"), [("HANDLERS_URL", "true"), ("HANDLER_SECRET", "false")])
def test_a_lacking_variable_is_named(database: str, tmp_path: Path, lacking: str, internal: str) -> None:
    """With the setting `false` the engine answers no details; next to other faults it takes our step."""
    setting = {"HASURA_GRAPHQL_ADMIN_INTERNAL_ERRORS": internal}
    with running_shared_engine(database, tmp_path / "backups", without=lacking, **setting) as engine:
        for is_foreign_inconsistent in (False, True):
            if is_foreign_inconsistent:
                metadata = engine.export()
                metadata["cron_triggers"][0]["webhook"] = "{{URL_OF_ANOTHER_APPLICATION}}/nightly"
                arguments = {"allow_inconsistent_metadata": True, "metadata": metadata}
                engine.api("replace_metadata", arguments)
            consistency = engine.api("get_inconsistent_metadata")
            assert consistency["is_consistent"] is not is_foreign_inconsistent
            before = engine.api("export_metadata")
            said = engine.run("9a", code=1)
            assert said.count("the engine has no environment variable") == 1
            assert all(text in said for text in (f"environment variable {lacking}:", "Nothing was changed"))
            assert engine.api("export_metadata") == before
            assert engine.api("get_inconsistent_metadata") == consistency
        assert engine.count("hdb_catalog.hdb_cron_events", "trigger_name LIKE 'pancake%'") == 0


def test_a_missing_sql_trigger_stops_the_next_9a_and_recover_installs_it(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By 9a the engine would not install it again: for it nothing changed.

    tests/end_to_end/test_operators.py runs the command that is printed.
    """
    shared.run("9a")
    shared.sql(f'DROP TRIGGER "{SQL_TRIGGER}" ON pancake_webhook_event')
    before = shared.export()
    missing = f"the SQL trigger {SQL_TRIGGER} is missing"
    shared.run("9a", code=1, says=[missing, "Nothing was changed", "leads metadata recover"])
    assert shared.export() == before
    monkeypatch.setenv("HASURA_URL", shared.url)
    monkeypatch.setenv("HASURA_ADMIN_SECRET", SECRET)
    with open_deployment(tmp_path) as deployment:
        assert deployment.install_missing_triggers()
        assert not deployment.install_missing_triggers()
    shared.run("9a")


def test_9a_adds_our_entries_of_the_allow_list(database: str, tmp_path: Path, shared: Shared) -> None:
    """A directory without an entry is refused; while the list is off, nothing needs the entry."""
    entries = yaml.safe_load((DIRECTORY / "allow_list.yaml").read_text())
    names = ", ".join(entry["collection"] for entry in entries)
    said = f"The engine's allow list is on, without our entries: {names}."
    missing = "allow-list entry pancake_calls is missing: Hasura stops its calls"
    own = make_own(tmp_path / "own")
    (own / "allow_list.yaml").write_text("- collection: pancake\n  scope:\n    global: true\n")
    is_on = {"HASURA_GRAPHQL_ENABLE_ALLOWLIST": "true"}
    with running_shared_engine(database, tmp_path / "backups", **is_on) as engine:
        before = engine.export()
        assert missing in engine.run("9a", "--metadata", str(own), code=1)
        assert engine.export() == before
        assert said in engine.run("9a", "--dry-run")
        assert said in engine.run("9a")
        assert "allow list" not in engine.run("9a")
        engine.api("drop_collection_from_allowlist", {"collection": "pancake_calls"})
        engine.run("verify", "9a", code=1, says=[missing])
    assert "allow list" not in shared.run("9a", "--dry-run", "--metadata", str(own))


def test_an_engine_that_may_not_act_as_the_handlers_is_asked_for_their_rights(shared: Shared) -> None:
    """The role of the engine is often the owner of the tables, and no superuser."""

    def cannot_act(answer: Any) -> None:
        answer["result"] = [["refusal"], ['permission denied to set role "pancake_handlers"']]

    transport = Altered("/v2/query", "preflight", cannot_act)
    broken, mended, _ = WRONG_DATABASE[1]
    with shared.changed(broken, mended):
        assert "a right on hdb_catalog is missing" in refusal(shared, transport)
    assert refusal(shared, transport) == ""


def test_the_attempt_to_store_a_lead_leaves_nothing(shared: Shared) -> None:
    shared.run("9a")
    for table in TABLES:
        assert shared.count(table) == 0, table
    event = shared.one("SELECT payload ->> 'op' AS op FROM hdb_catalog.event_log")
    assert event == {"op": "MANUAL"}  # the probe event, which is delivered afterwards


WITHOUT_EVENT_LOG = (
    "DROP TABLE hdb_catalog.event_log, hdb_catalog.event_invocation_logs CASCADE;"
    "DROP FUNCTION hdb_catalog.insert_event_log CASCADE"
)
"""As an engine is before its first event trigger, and after its metadata was cleared."""


def test_on_an_engine_without_event_triggers_9a_works_and_asks_for_the_rights_that_come_after(
    database: str, tmp_path: Path
) -> None:
    """The event log comes with 9a: before there is nothing to grant, after the handlers may not write it.

    Setup grants the rights after its 9a, and asks for no word about them.
    """
    refused = "the role pancake_handlers cannot store a lead: permission denied for"
    with running_shared_engine(database, tmp_path / "backups") as engine:
        engine.api("pg_delete_event_trigger", {"name": "diva_ticket_created", "source": "default"})
        engine.sql(WITHOUT_EVENT_LOG)
        assert refused not in " ".join(engine.run("9a", "--rights-follow").split())
        engine.run("remove", "9a")
        engine.sql(WITHOUT_EVENT_LOG)
        for command, code in (("9a", 0), ("9b", 1), ("recover", 1)):
            cure = "as the owner: psql -f deploy/postgres/grant_roles.sql"
            engine.run(command, code=code, says=[refused, cure])
        engine.run("verify", "9b", says=["Verified"])
        engine.run("verify", "9b", "--probe", code=1, says=[refused])
        grant_rights(database)
        for command in ("verify 9b --probe", "9b", "recover"):
            engine.run(*command.split(), says=["Verified"])


def test_9a_goes_on_without_handlers_and_9b_does_not(database: str, tmp_path: Path) -> None:
    with running_shared_engine(database, tmp_path / "backups", HANDLERS_URL="http://127.0.0.1:9") as engine:
        away = "cannot reach the handlers at HANDLERS_URL"
        engine.run("9a", says=["Not a problem before the services are deployed", away])
        for command in (("9b",), ("verify", "9b", "--probe")):
            engine.run(*command, code=1, says=[f"a probe event of {TRIGGER} was not processed", away])
        assert "probe" not in engine.run("verify", "9b")


def test_an_engine_that_delivers_no_events_or_has_a_variable_that_none_should_have_is_named(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.metadata.command.MAX_PROBE_SECONDS", 0.3)
    for name, value, texts in (
        ("PANCAKE_PREFLIGHT_NEVER_SET", "set",
         ("The engine has the variable PANCAKE_PREFLIGHT_NEVER_SET", "Delete the trigger")),
        ("HASURA_GRAPHQL_EVENTS_FETCH_INTERVAL", "0",
         ("the engine did not deliver a probe event", "delivers no events")),
    ):  # fmt: skip
        with running_shared_engine(database, tmp_path / "backups", **{name: value}) as engine:
            engine.run("9a", code=1, says=texts)


def error(status: int | None, message: Any) -> dict[str, Any]:
    """The log of a delivery that failed, as a genuine engine writes it."""
    text = message if isinstance(message, str) else json.dumps(message)
    return {"http_status": status, "response": {"data": {"message": text}, "type": "client_error"}}


def answered(code: str) -> dict[str, Any]:
    return {"message": "…", "extensions": {"code": code}}


def test_each_answer_is_judged(subtests: pytest.Subtests) -> None:
    for invocation, problem, is_answered in (
        ({"http_status": 200, "response": {"data": {"body": '{"event_id": 0, "result": "x"}'}}}, "", True),
        (error(503, answered("processing_paused")), "", True),
        (error(503, answered("database_unavailable")), "answered 503 (database_unavailable)", True),
        (error(401, answered("unauthorized")), "another HANDLER_SECRET", True),
        ({"http_status": 200, "response": {"data": {"body": "{}"}}}, "something else than our", False),
        (error(502, "<html>Bad Gateway</html>"), "something else than our handlers answered 502", False),
        (error(None, {"message": "Connection refused\n", "type": "http_exception"}),
         "at HANDLERS_URL: Connection refused", False),
        (error(None, "not JSON"), "the engine gives no reason", False),
        ({"http_status": 500, "response": None}, "answered 500", False),
    ):  # fmt: skip
        with subtests.test(invocation=invocation, problem=problem):
            found = judge(TRIGGER, invocation)
            assert (found is None) is (not problem)
            assert found is None or (found.is_present, problem in found.text) == (is_answered, True), found


def test_of_a_probe_that_was_answered_503_the_repeat_is_judged() -> None:
    fine = {"http_status": 200, "response": {"data": {"body": '{"event_id": 0, "result": "x"}'}}}
    answers = iter([[], [error(503, answered("database_unavailable"))], [fine]])
    engine: Any = SimpleNamespace(
        invoke_event_trigger=lambda *_: "event", invocations=lambda *_: next(answers)
    )
    pieces = {("table", "x"): {"event_triggers": [{"name": "t"}]}}
    assert deliver_probe(engine, "default", pieces, 5) is None
