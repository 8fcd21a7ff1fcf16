"""`leads golive precheck`: what is broken is red, and what cannot be asked is inconclusive."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from typer.testing import CliRunner

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.__main__ import app
from leads.cli.golive.criterion import Part, Source
from leads.cli.golive.load import load_criteria
from leads.cli.golive.measuring import STATEMENT_TIMEOUT
from leads.cli.golive.precheck import evaluating
from leads.cli.golive.precheck.link import Link
from leads.cli.golive.precheck.manifest import Manifest, read_manifest
from leads.cli.golive.probes import OF_ENGINE, OF_LINK, OF_SOURCES
from leads.cli.metadata.engine import Engine
from sandbox.postgres.server import Cluster
from sandbox.stack.stack import Sandbox
from tests.support.golive_breakages import BREAKAGES, Ground, broken

AREAS = ("engine", "database", "edge", "metadata", "people")
CLOSED = "http://127.0.0.1:9"
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
    with Sandbox(cluster) as sandbox:
        found = Ground(sandbox, folder)
        found.write_manifest()
        plan = {"engine_manifest": str(folder / "hasura.yaml"), "staging_url": sandbox.hasura_url}
        (folder / "golive.yaml").write_text(yaml.safe_dump(plan))
        found.sql("UPDATE view_pancake_setting SET kill_switch = true")
        found.sql("UPDATE pancake_source SET is_active = false")
        yield found


def precheck(ground: Ground, *areas: str, **environment: str) -> dict[str, dict[str, Any]]:
    """Return each criterion of the areas by its id."""
    given = ground.sandbox.environment() | {
        "PUBLIC_URL": ground.sandbox.edge_url, "HASURA_OTHER_ADMIN_SECRET": ground.sandbox.keys.admin_secret,
    }  # fmt: skip
    words = ["--records", str(ground.folder), "--file", str(ground.folder / "golive.yaml"), "--json"]
    run = CliRunner().invoke(app, ["golive", "precheck", *areas, *words], env=given | environment)
    assert run.exit_code in (0, 1, 3), run.output
    return {each["id"]: each for each in json.loads(run.stdout)["criteria"]}


def outcomes(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: str(each["outcome"]) for name, each in found.items()}


@pytest.fixture(scope="module")
def healthy(ground: Ground) -> dict[str, str]:
    return outcomes(precheck(ground))


def test_a_healthy_installation_passes_all_that_a_program_decides_here(healthy: dict[str, str]) -> None:
    """Prometheus is not there, the public URL is not https, and a snapshot was not taken."""
    failed = {name for name, outcome in healthy.items() if outcome == "fail"}
    assert failed - SLOW_HERE == {"E2-OPS-tls"}
    asked = {
        each.id for each in CRITERIA
        if each.part.value in AREAS and each.source in (Source.SQL, Source.ENGINE, Source.COMMAND)
    }  # fmt: skip
    inconclusive = {name for name, outcome in healthy.items() if outcome == "inconclusive"}
    assert asked & inconclusive == {"database-snapshot", "E7.7-9"}


@pytest.mark.parametrize("name", BREAKAGES)
def test_what_is_broken_is_red_and_nothing_else(ground: Ground, healthy: dict[str, str], name: str) -> None:
    breakage, also = BREAKAGES[name]
    part = next(each.part.value for each in CRITERIA if each.id == name)
    areas = {part, *(each.part.value for each in CRITERIA if each.id in also)}
    with broken(ground, breakage):
        found = outcomes(precheck(ground, *sorted(areas)))
    changed = {each for each in found if found[each] != healthy[each]} - (SLOW_HERE - {name})
    assert found[name] == "fail"
    assert changed | {name} == {name, *also}


def test_an_old_engine_and_one_that_differs_from_staging_are_red(
    ground: Ground, healthy: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "version", lambda _: "v2.40.0")
    assert outcomes(precheck(ground, "engine"))["engine-version"] == "fail"
    monkeypatch.undo()

    class Other(Engine):
        def export(self) -> tuple[dict[str, Any], int]:
            metadata, version = super().export()
            return metadata | {"cron_triggers": metadata["cron_triggers"][1:]}, version

    def other(link: Link, url: str, secret: str) -> Engine:
        """The second engine that is opened is staging."""
        opened.append(url)
        return (Other if len(opened) > 1 else Engine)(link._open.enter_context(HasuraAdmin(url, secret)))

    opened: list[str] = []
    monkeypatch.setattr(Link, "_engine", other)
    found = precheck(ground, "metadata")["staging-metadata"]
    assert (found["outcome"], found["value"]) == ("fail", 1)
    assert "only here" in found["details"]


def test_an_object_that_broke_is_red(ground: Ground) -> None:
    table = {"source": "default", "table": {"schema": "public", "name": "of_others"}}
    ground.sql("CREATE TABLE of_others (id integer PRIMARY KEY)")
    ground.metadata("pg_track_table", table)
    try:
        ground.sql("DROP TABLE of_others")
        ground.metadata("reload_metadata", {})
        found = precheck(ground, "metadata")["engine-consistent"]
    finally:
        ground.metadata("drop_inconsistent_metadata", {})
    assert (found["outcome"], found["value"]) == ("fail", 1)


def test_a_source_that_does_not_answer_is_inconclusive_never_a_pass(ground: Ground) -> None:
    """Each source in its turn; what asks others is as before."""
    gone = {
        "engine": {"HASURA_URL": CLOSED},
        "database": {"DATABASE_URL": "postgresql://nobody:x@127.0.0.1:9/none"},
        "edge": {"PUBLIC_URL": CLOSED, "PROMETHEUS_URL": CLOSED},
        "metadata": {"HASURA_URL": CLOSED},
    }  # fmt: skip
    criteria = {each.id: each for each in CRITERIA}
    for area, environment in gone.items():
        found = precheck(ground, area, **environment)
        asked = {
            name: each for name, each in found.items()
            if criteria[name].source not in (Source.PERSON, Source.FILE)
            and not criteria[name].query.startswith("has_")
            and name not in ("engine-pool", "engine-stop", "engine-logs", "database-snapshot", "E2-OPS-tls")
        }  # fmt: skip
        assert asked
        assert {(each["outcome"], each["why"]) for each in asked.values()} == {
            ("inconclusive", "source_down")
        }, area


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
    own = {"connection_share", "explain_lookups", "scans_since_begin"}
    assert named == {*OF_ENGINE, *OF_LINK, *OF_SOURCES, *own}
    assert {part.value for part in Part} >= set(AREAS)
