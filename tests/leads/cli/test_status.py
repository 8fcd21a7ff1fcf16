"""`leads status` names in words what is silent otherwise: a wipe, the allow list, a lost environment."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from leads.cli.__main__ import app
from leads.cli.metadata.directory import read_directory
from sandbox.diva import METADATA as DIVA_METADATA
from tests.support.fixed_engine import fixed_engine
from tests.support.shared_engine import SECRET, Shared, running_shared_engine


def status(url: str, *options: str, code: int) -> str:
    environment = {"HASURA_URL": url, "HASURA_ADMIN_SECRET": SECRET}
    result = CliRunner().invoke(app, ["status", *options], env=environment)
    assert result.exit_code == code, result.output
    return result.stdout


def problems(shared: Shared) -> dict[str, list[str]]:
    """Return the problems by check; there must be some."""
    checks: list[dict[str, Any]] = json.loads(status(shared.url, "--json", code=1))["checks"]
    return {check["name"]: check["problems"] for check in checks if check["problems"]}


def test_it_is_well_until_somebody_wipes_the_metadata(shared: Shared) -> None:
    shared.run("9a")
    shared.run("9b")
    said = status(shared.url, code=0)
    assert "problem" not in said
    assert "0 rows wait to be processed" in said

    shared.api("replace_metadata", read_directory(DIVA_METADATA))

    said = status(shared.url, code=1)
    assert "leads metadata recover" in said
    assert max(map(len, said.splitlines())) <= 80
    assert set(problems(shared)) == {"metadata"}


def test_a_lost_permission_and_a_lost_cron_are_named(shared: Shared) -> None:
    shared.run("9a")
    shared.run("9b")
    shared.api("drop_action_permission", {"action": "sendNotifications", "role": "pancake_service"})
    shared.api("delete_cron_trigger", {"name": "pancake_check_sla"})
    found = problems(shared)
    assert set(found) == {"metadata", "notifications"}
    assert "cron trigger pancake_check_sla" in found["metadata"][0]


def test_an_allow_list_that_stops_us_is_named(database: str, tmp_path: Path) -> None:
    """Off, a missing entry is a missing piece only."""
    with running_shared_engine(
        database, tmp_path / "backups", HASURA_GRAPHQL_ENABLE_ALLOWLIST="true"
    ) as shared:
        shared.run("9a")
        shared.run("9b")
        shared.api("drop_collection_from_allowlist", {"collection": "pancake_calls"})
        said = "allow-list entry pancake_calls is missing: Hasura stops its calls"
        assert problems(shared)["allow list"] == [said]


def test_cleared_metadata_are_a_problem_and_no_wrong_usage() -> None:
    with fixed_engine({"version": 3, "sources": []}) as url:
        assert "its metadata was cleared" in " ".join(status(url, code=1).split())
