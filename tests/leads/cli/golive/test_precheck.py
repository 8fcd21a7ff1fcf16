"""`leads golive precheck`: what is broken is red, and what cannot be asked is inconclusive."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from leads.cli.__main__ import app
from leads.cli.golive.criterion import Part, Source
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import STATEMENT_TIMEOUT
from leads.cli.golive.opening import GATE_PROBES
from leads.cli.golive.precheck import evaluating
from leads.cli.golive.precheck.evaluating import evaluate_parts
from leads.cli.golive.precheck.manifest import Manifest, read_manifest
from leads.cli.golive.precheck.role_probes import ACTIONS, TABLES, stored_operations
from leads.cli.golive.probes import OF_ENGINE, OF_LINK, OF_SOURCES
from leads.cli.metadata.engine import Engine
from leads.cli.probes.engine import own_metadata
from sandbox.postgres.server import Cluster
from sandbox.stack.stack import Sandbox
from tests.support.golive_breakages import BREAKAGES
from tests.support.golive_ground import Ground, broken, by_metadata, by_sql
from tests.support.golive_prometheus import fake_prometheus

CRITERIA = load_criteria()
SLOW_HERE = {"E3-BE-capacity"}
"""A busy machine may need more than 100 ms for 1,000 rows."""


@pytest.fixture(autouse=True, scope="module")
def criteria_read_once() -> Iterator[None]:
    """Reading the files takes longer than asking the sandbox."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "load_criteria", lambda: CRITERIA)
        yield


@pytest.fixture(scope="module")
def ground(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A sandbox before its start: the kill switch is on."""
    folder = tmp_path_factory.mktemp("precheck")
    with Sandbox(cluster) as sandbox, fake_prometheus() as prometheus:
        found = Ground(sandbox, folder, prometheus)
        found.write_manifest()
        found.note_snapshot(1)
        plan = {"engine_manifest": str(folder / "hasura.yaml"), "staging_url": sandbox.hasura_url}
        (folder / "golive.yaml").write_text(yaml.safe_dump(plan))
        found.sql("UPDATE view_pancake_setting SET kill_switch = true")
        found.sql("UPDATE pancake_source SET is_active = false")
        yield found


def environment(ground: Ground) -> dict[str, str]:
    return ground.sandbox.environment() | {
        "PUBLIC_URL": ground.sandbox.edge_url, "PROMETHEUS_URL": ground.prometheus.url,
        "HASURA_OTHER_ADMIN_SECRET": ground.sandbox.keys.admin_secret,
    } | ground.environment  # fmt: skip


def precheck(ground: Ground, *areas: str) -> dict[str, dict[str, Any]]:
    """Return each criterion of the areas by its id."""
    words = ["--records", str(ground.folder), "--file", str(ground.folder / "golive.yaml"), "--json"]
    run = CliRunner().invoke(app, ["golive", "precheck", *areas, *words], env=environment(ground))
    assert run.exit_code in (0, 1, 3), run.output
    return {each["id"]: each for each in json.loads(run.stdout)["criteria"]}


def found_in(ground: Ground, *parts: Part) -> dict[str, str]:
    """Return the outcome of each criterion of these parts of the checklist."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(ground).items():
            patch.setenv(name, value)
        found = evaluate_parts("test", parts, ground.folder, ground.folder / "golive.yaml", "default")
    return {each.criterion.id: each.outcome.value for each in found.judgements}


@pytest.fixture(scope="module")
def healthy(ground: Ground) -> dict[str, str]:
    """What is found of all parts that are no gate."""
    return found_in(ground, *(part for part in Part if part is not Part.GATE))


def test_a_healthy_installation_passes_all_that_a_program_decides_here(ground: Ground) -> None:
    """The public URL is not https."""
    found = {name: each["outcome"] for name, each in precheck(ground).items()}
    decided = {each.id for each in CRITERIA if each.source not in (Source.PERSON, Source.FILE)}
    not_passed = {name for name, outcome in found.items() if outcome != "pass"} & decided
    assert not_passed - SLOW_HERE == {"E2-OPS-tls"}


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_is_red_and_nothing_else(ground: Ground, healthy: dict[str, str], name: str) -> None:
    breakage, also = BREAKAGES[name]
    parts = {each.part for each in CRITERIA if each.id in {name, *also}}
    with broken(ground, breakage):
        found = found_in(ground, *sorted(parts))
    changed = {each for each in found if found[each] != healthy[each]} - (SLOW_HERE - {name})
    assert found[name] == "fail"
    assert changed | {name} == {name, *also}


@pytest.mark.parametrize("version", ["v2.50.5", "v2.51.0", "v3.0.0"])
def test_an_engine_outside_its_range_is_red(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(Engine, "version", lambda _: version)
    found = precheck(ground, "engine")["engine-version"]
    assert (found["outcome"], found["value"]) == ("fail", 1)


def test_what_lacks_and_what_is_too_much_is_named(ground: Ground) -> None:
    wrong = ("GRANT DELETE ON account TO", "REVOKE UPDATE (data) ON ticket FROM")
    right = ("REVOKE DELETE ON account FROM", "GRANT UPDATE (data) ON ticket TO")
    roles = ("pancake_handlers", "pancake_operators")
    breakage = by_sql(*("; ".join(map(" ".join, zip(each, roles, strict=True))) for each in (wrong, right)))
    with broken(ground, breakage):
        found = precheck(ground, "database")["database-rights"]
    assert (found["outcome"], found["value"]) == ("fail", 2)
    missing, further = found["details"].split("; ")
    assert missing == "missing: pancake_operators UPDATE public.ticket data"
    assert further == "too much: pancake_handlers DELETE public.account"


def permission(table: str) -> dict[str, Any]:
    """The right of crm_admin to read a table, as arguments for Hasura."""
    (found,) = (
        each for each in own_metadata()["sources"][0]["tables"] if each["table"]["name"] == table
    )  # fmt: skip
    (right,) = (each for each in found["select_permissions"] if each["role"] == "crm_admin")
    return {"source": "default", "table": found["table"], **right}


@pytest.mark.parametrize("table", ["pancake_webhook_event", "view_pancake_report_owner"])
def test_a_role_that_lost_the_right_to_read_a_table_is_named(ground: Ground, table: str) -> None:
    arguments = permission(table)
    taken = ("pg_drop_select_permission", {name: arguments[name] for name in ("source", "table", "role")})
    with broken(ground, by_metadata(taken, ("pg_create_select_permission", arguments))):
        found = precheck(ground, "metadata")["role-permissions"]
    assert (found["outcome"], found["value"]) == ("fail", 1)
    assert found["details"].startswith("crm_admin may not use ")
    assert f"field '{table}' not found" in found["details"]


@pytest.mark.parametrize(
    ("role", "breaks", "mends", "says"),
    [
        ("crm_manager", "create", "drop", "crm_manager sees pancake_replay_events or a part of it"),
        ("pancake_edge", "create", "drop", "pancake_edge sees pancake_replay_events or a part of it"),
        ("crm_admin", "drop", "create", "crm_admin may not use pancake_replay_events: "),
    ],
)
def test_a_role_that_may_call_too_much_or_too_little_is_named(
    ground: Ground, role: str, breaks: str, mends: str, says: str
) -> None:
    arguments = {"action": "pancake_replay_events", "role": role}
    calls = [(f"{word}_action_permission", arguments) for word in (breaks, mends)]
    with broken(ground, by_metadata(*calls)):
        found = precheck(ground, "metadata")["role-permissions"]
    assert (found["outcome"], found["value"]) == ("fail", 1)
    assert found["details"].startswith(says)


def test_every_table_and_action_is_probed() -> None:
    own, operations = own_metadata(), stored_operations()
    asked = " ".join(operations[each.operation] for each in (*TABLES, *ACTIONS))
    joined_as = {"view_pancake_connection_status": "status_history"}
    named = {each["table"]["name"] for each in own["sources"][0]["tables"] if "select_permissions" in each}
    assert [each for each in named if not re.search(rf"\b{joined_as.get(each, each)}\b", asked)] == []
    assert {each.name for each in ACTIONS} == {each["name"] for each in own["actions"]}


def test_without_a_manifest_what_it_tells_is_inconclusive(ground: Ground) -> None:
    (ground.folder / "hasura.yaml").write_text("services: {web: {image: nginx}}")
    try:
        found = precheck(ground, "engine", "database")
    finally:
        ground.write_manifest()
    for name in ("engine-pool", "engine-stop", "engine-logs", "engine-no-downgrade", "database-connections"):
        assert (found[name]["outcome"], found[name]["why"]) == ("inconclusive", "source_down")


def test_nothing_that_it_writes_stays(ground: Ground) -> None:
    with psycopg.connect(ground.sandbox.database_url) as db:
        count = "SELECT count(*) FROM pancake_webhook_event"
        before = db.execute(count).fetchone()
        precheck(ground, "engine", "database")
        assert db.execute(count).fetchone() == before
    assert STATEMENT_TIMEOUT == "30s"


def test_a_compose_file_tells_the_same_as_a_deployment(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    path.write_text(
        "services: {hasura: {image: 'hasura/graphql-engine:v2.50.6', stop_grace_period: 3m,"
        " environment: [HASURA_GRAPHQL_DEV_MODE=false]}}"
    )
    assert read_manifest(path) == Manifest("v2.50.6", 1, 180.0, {"HASURA_GRAPHQL_DEV_MODE": "false"})


def test_every_probe_of_a_criterion_exists_and_none_is_left_over() -> None:
    named = {each.query for each in CRITERIA if each.source in (Source.ENGINE, Source.COMMAND)}
    own = {"connection_share", "wrong_engine"}
    assert named == {*OF_ENGINE, *OF_LINK, *OF_SOURCES, *GATE_PROBES, *own}
