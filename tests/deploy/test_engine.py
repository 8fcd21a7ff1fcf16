"""The engine's settings in compose.yaml, the Kubernetes example and the install page; its one version."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from leads.services.redelivery import MAX_WAITING
from ops.checks.engine import MIN_VERSION
from scripts.check_tree import read_tree

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/runbook/install.md").read_text()
EXPLAINED = (
    "GRACEFUL_SHUTDOWN_TIMEOUT", "EVENTS_FETCH_INTERVAL", "EVENTS_FETCH_BATCH_SIZE", "EVENTS_HTTP_POOL_SIZE",
)  # fmt: skip
"""Each has a row in the table on restarts and latency; the page shows the others in other places."""
SHARED = (
    *EXPLAINED, "DEV_MODE", "ADMIN_INTERNAL_ERRORS", "ENABLE_ALLOWLIST", "ENABLED_LOG_TYPES",
    "REDACT_EVENT_TRIGGER_LOGS", "REDACT_SCHEDULED_TRIGGER_LOGS", "REDACT_ACTION_HANDLER_LOGS",
)  # fmt: skip
SLOWEST_STOP_SECONDS = 155
"""Seen on a genuine engine, at a time-out of 60 s and with handlers that hang."""
PINNED = re.compile(
    r"^FROM hasura/graphql-engine:(v[\d.]+)\.cli-migrations-v3(?:@sha256:\w+)? AS engine$", re.M
)
VERSION = re.compile(r"(?<!prom/prometheus:)\bv2\.\d{2}\.\d+")
FIRST_PATCH = 6
NOT_READ = ("tests/", "CHANGELOG.md")
FACTS = {
    "v2.48.10": "the genuine engine that was tried and recorded",
    "v2.50.1": "the first version with the switches for redacted logs",
}
"""Versions that a text may name besides the installed one."""


@pytest.fixture(scope="module", params=["compose.yaml", "compose.production.yaml"])
def compose(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / request.param).read_text())["services"]["hasura"])


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    documents = yaml.safe_load_all((ROOT / "deploy/kubernetes/own-engine/hasura.yaml").read_text())
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    return dict(deployment["spec"]["template"]["spec"])


def test_a_setting_has_one_value_which_the_install_page_explains(
    compose: dict[str, Any], pod: dict[str, Any]
) -> None:
    environment = {one["name"]: one["value"] for one in pod["containers"][0]["env"]}
    for setting in SHARED:
        name, value = f"HASURA_GRAPHQL_{setting}", compose["environment"][f"HASURA_GRAPHQL_{setting}"]
        assert environment[name] == value, name
        if setting in EXPLAINED:
            assert re.search(rf"^\| `{name}` \| `{value}` [^|]*\| [^|]{{40,}} \|$", PAGE, re.M), name


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
    deployment = next(yaml.safe_load_all((ROOT / "deploy/kubernetes/own-engine/hasura.yaml").read_text()))
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels


def pinned() -> str:
    (version,) = PINNED.findall((ROOT / "Dockerfile").read_text())
    return str(version)


def test_it_is_the_same_patch_of_the_supported_line_everywhere() -> None:
    tree = {name: text for name, text in read_tree().items() if not name.startswith(NOT_READ)}
    assert tuple(map(int, pinned().removeprefix("v").split("."))) >= (2, 50, FIRST_PATCH)
    assert MIN_VERSION == (2, 50, FIRST_PATCH)
    named = [name for name, text in tree.items() if re.search(r"graphql-engine:v?\d", text)]
    assert sorted(named) == [
        "Dockerfile", "compose.production.yaml", "deploy/kubernetes/own-engine/hasura.yaml",
    ]  # fmt: skip
    settings = tree["sandbox/engine/graphql_engine/settings.py"]
    assert re.findall(r'^VERSION = "(.+)"$', settings, re.M) == [pinned()]
    others = {name: {*VERSION.findall(text)} - {pinned(), *FACTS} for name, text in tree.items()}
    assert {name: found for name, found in others.items() if found} == {}
