"""compose.yaml, the Kubernetes example and the install page give the engine the same settings."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from leads.services.process_record.turns import MAX_WAITING

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/runbook/install.md").read_text()
SHARED = (
    "DEV_MODE",
    "ADMIN_INTERNAL_ERRORS",
    "ENABLE_ALLOWLIST",
    "ENABLED_LOG_TYPES",
    "REDACT_EVENT_TRIGGER_LOGS",
    "REDACT_SCHEDULED_TRIGGER_LOGS",
    "REDACT_ACTION_HANDLER_LOGS",
    "GRACEFUL_SHUTDOWN_TIMEOUT",
    "EVENTS_FETCH_INTERVAL",
    "EVENTS_FETCH_BATCH_SIZE",
    "EVENTS_HTTP_POOL_SIZE",
)
EXPLAINED = SHARED[7:]
"""Each has a row in the table on restarts and latency; the page shows the others in other places."""
SLOWEST_STOP_SECONDS = 155
"""Seen on a genuine engine, at a time-out of 60 s and with handlers that hang."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The service of the engine."""
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["hasura"])


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    """The specification of the engine's Pod."""
    documents = yaml.safe_load_all((ROOT / "deploy/kubernetes/hasura.yaml").read_text())
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    return dict(deployment["spec"]["template"]["spec"])


def variables(pod: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod["containers"][0]["env"]}


@pytest.mark.parametrize("name", SHARED)
def test_a_setting_has_one_value(compose: dict[str, Any], pod: dict[str, Any], name: str) -> None:
    name = f"HASURA_GRAPHQL_{name}"
    assert variables(pod)[name] == compose["environment"][name]


@pytest.mark.parametrize("name", EXPLAINED)
def test_the_install_page_explains_it_with_its_value(compose: dict[str, Any], name: str) -> None:
    value = compose["environment"][f"HASURA_GRAPHQL_{name}"]
    assert re.search(rf"^\| `HASURA_GRAPHQL_{name}` \| `{value}` [^|]*\| [^|]{{40,}} \|$", PAGE, re.M)


def test_the_engine_has_longer_to_stop_than_it_was_seen_to_take(
    compose: dict[str, Any], pod: dict[str, Any]
) -> None:
    grace = pod["terminationGracePeriodSeconds"]
    assert compose["stop_grace_period"] == f"{grace}s"
    assert grace > SLOWEST_STOP_SECONDS
    assert grace >= 3 * int(compose["environment"]["HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT"])
    assert f"`terminationGracePeriodSeconds` of Kubernetes | `{grace}` s |" in PAGE
    assert compose["init"] is True


def test_a_backlog_fills_at_most_half_of_the_engines_deliveries(compose: dict[str, Any]) -> None:
    assert int(compose["environment"]["HASURA_GRAPHQL_EVENTS_HTTP_POOL_SIZE"]) >= 2 * MAX_WAITING
    assert f"half of them ({MAX_WAITING} in each process of the handlers)" in PAGE


def test_an_inconsistent_object_takes_no_instance_out_of_service(pod: dict[str, Any]) -> None:
    container = pod["containers"][0]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert probes == [{"path": "/healthz", "port": "http"}] * 3
    assert container["ports"] == [{"name": "http", "containerPort": 8080}]


def test_no_instance_is_stopped_before_another_serves() -> None:
    deployment = next(yaml.safe_load_all((ROOT / "deploy/kubernetes/hasura.yaml").read_text()))
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert (
        deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    )
