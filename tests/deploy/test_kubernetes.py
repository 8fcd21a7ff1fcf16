"""The manifests of deploy/kubernetes: valid, and as image, compose.yaml and Prometheus expect.

With WRITE_DOCS set, the test of the rules writes deploy/kubernetes/monitoring/rules.yaml.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from leads.serve import SHUTDOWN_SECONDS
from ops.settings import VARIABLES

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
RULES = FOLDER / "monitoring/rules.yaml"
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus Operator, for which Kubernetes has no schema."""


def read(*names: str) -> list[dict[str, Any]]:
    return [
        dict(document)
        for name in names
        or ("handlers.yaml", "edge.yaml", "network.yaml", "hasura.yaml", "monitoring/scrapes.yaml")
        for document in yaml.safe_load_all((FOLDER / name).read_text())
    ]


def find(kind: str, name: str) -> dict[str, Any]:
    (document,) = [one for one in read() if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return document


def containers(kind: str, name: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in find(kind, name)["spec"]["template"]["spec"]["containers"]}


PODS = [("Deployment", "handlers"), ("StatefulSet", "edge")]


def test_it_is_valid() -> None:
    """The oldest version with unhealthyPodEvictionPolicy in general use, and the newest known."""
    for version in ("1.31", "1.36"):
        for document in [one for one in read() if one["kind"] not in CUSTOM]:
            kubernetes_validate.validate(document, version, strict=True)


def render(folder: Path) -> list[dict[str, Any]]:
    ended = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stderr) == (0, "")
    return list(yaml.safe_load_all(ended.stdout))


@pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not installed: apt-get install kubernetes-client"
)
def test_kustomize_renders_it_with_and_without_what_is_commented_out(tmp_path: Path) -> None:
    plain = render(FOLDER)
    assert {one["metadata"]["namespace"] for one in plain} == {"pancake-diva"}
    images = re.findall(r"'image': '(\S+)'", str(plain))
    assert set(images) == {"pancake-diva/handlers:0.1.0", "pancake-diva/edge:0.1.0"}
    shutil.copytree(FOLDER, tmp_path / "all")
    text = (FOLDER / "kustomization.yaml").read_text()
    (tmp_path / "all/kustomization.yaml").write_text(
        re.sub(r"^( *)# (- \S+|components:.*)$", r"\1\2", text, flags=re.M)
    )
    whole = render(tmp_path / "all")
    kinds = {one["kind"] for one in whole} - {one["kind"] for one in plain}
    assert kinds == CUSTOM
    assert "hasura" in {one["metadata"]["name"] for one in whole if one["kind"] == "Deployment"}


def test_the_operator_gets_the_rules_of_prometheus() -> None:
    groups = [
        group
        for name in ("pancake", "edge", "meta")
        for group in yaml.safe_load((ROOT / f"deploy/prometheus/{name}.rules.yml").read_text())["groups"]
    ]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "pancake"},
        "spec": {"groups": groups},
    }  # fmt: skip
    text = "# Made of deploy/prometheus/*.rules.yml by tests/deploy/test_kubernetes.py with WRITE_DOCS=1.\n"
    text += yaml.safe_dump(rule, sort_keys=False, allow_unicode=True, width=140)
    if os.environ.get("WRITE_DOCS"):
        RULES.write_text(text)
    assert RULES.read_text() == text


def test_each_scrape_has_the_name_that_the_rules_know() -> None:
    jobs = {
        one["job_name"]
        for one in yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    }
    services = [one for one in read("monitoring/scrapes.yaml") if one["kind"] == "Service"]
    monitors = [one for one in read("monitoring/scrapes.yaml") if one["kind"] == "ServiceMonitor"]
    names = {one["metadata"]["labels"]["prometheus-job"] for one in services}
    assert names == {"pancake_handlers", "pancake_edge"} <= jobs
    assert {one["spec"]["selector"]["matchLabels"]["prometheus-job"] for one in monitors} == names
    assert {one["spec"]["jobLabel"] for one in monitors} == {"prometheus-job"}
    for service in services:
        selected = [
            container
            for kind, name in PODS
            if service["spec"]["selector"].items()
            <= find(kind, name)["spec"]["template"]["metadata"]["labels"].items()
            for container in containers(kind, name).values()
        ]
        assert selected
        (port,) = service["spec"]["ports"]
        assert any(one["containerPort"] == port["port"] for each in selected for one in each["ports"])


def test_every_process_of_the_handlers_is_scraped() -> None:
    for kind, name in PODS:
        assert find(kind, name)["spec"]["template"]["metadata"]["labels"]["metrics"] == "handlers"
        assert 9146 in [port["containerPort"] for port in containers(kind, name)["handlers"]["ports"]]


@pytest.mark.parametrize(("kind", "name"), PODS)
def test_a_pod_has_time_to_stop_and_no_rights_that_it_does_not_need(kind: str, name: str) -> None:
    pod = find(kind, name)["spec"]["template"]["spec"]
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= pause + SHUTDOWN_SECONDS + 5
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        context = container["securityContext"]
        assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


def test_there_is_one_edge() -> None:
    """docs/runbook/edge.md: two edges would have two suspension budgets."""
    assert find("StatefulSet", "edge")["spec"]["replicas"] == 1
    assert {
        one["spec"]["scaleTargetRef"]["name"] for one in read() if one["kind"] == "HorizontalPodAutoscaler"
    } == {"handlers"}


def test_the_edge_stays_reachable_without_the_database() -> None:
    assert "readinessProbe" not in containers("StatefulSet", "edge")["handlers"]
    assert containers("StatefulSet", "edge")["edge"]["readinessProbe"]["httpGet"]["port"] == "ops"


def test_what_the_secrets_hold_is_what_compose_gives() -> None:
    page = (FOLDER / "README.md").read_text()
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    plain = {"HASURA_URL", "HANDLERS_URL", "PANCAKE_API_HOSTS"}
    for name in ("handlers", "edge"):
        needed = set(compose[name]["environment"]) - plain
        (line,) = re.findall(rf"^\| `{name}` \| (`DATABASE.*|`HASURA.*) \|$", page, re.M)
        assert set(re.findall(r"`([A-Z_]+)`", line)) == needed
        assert needed - {"HASURA_EDGE_TOKEN"} <= set(VARIABLES)


def test_the_network_lets_through_what_the_ports_need() -> None:
    for kind, name in PODS:
        policy = find("NetworkPolicy", name)["spec"]
        assert policy["podSelector"]["matchLabels"] == {"app": name}
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        named = {port["name"] for one in containers(kind, name).values() for port in one["ports"]}
        open_ports = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
        # The process beside the edge is reached over loopback only.
        assert open_ports == (named - {"http"} if name == "edge" else named)
