"""The manifests of deploy/kubernetes: valid, and as image, compose.yaml and Prometheus expect.

With WRITE_DOCS set, the test of the rules writes deploy/kubernetes/monitoring/rules.yaml.
"""

import base64
import os
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from leads.serve import SHUTDOWN_SECONDS
from ops.setup.answers import gather
from ops.setup.env_files import KEYS, OPTIONAL, read_env_files
from ops.setup.values import MONITORING, NAMESPACE, NO_MONITORING, value_files
from proofs.images.pods import WORKLOADS, render, template_of

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
RULES = FOLDER / "monitoring/rules.yaml"
FILES = {name: (*KEYS[f"{name}.env"], *OPTIONAL[f"{name}.env"]) for name in ("handlers", "edge", "ops")}
"""The environment files that the pods read, and their variables."""
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus Operator, for which Kubernetes has no schema."""


def read(*names: str) -> list[dict[str, Any]]:
    return [
        dict(document)
        for name in names or ("handlers.yaml", "edge.yaml", "network.yaml", "monitoring/scrapes.yaml")
        for document in yaml.safe_load_all((FOLDER / name).read_text())
    ]


def find(kind: str, name: str) -> dict[str, Any]:
    return named(read(), kind)[name]


def containers(kind: str, name: str) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in find(kind, name)["spec"]["template"]["spec"]["containers"]}


PODS = [("Deployment", "handlers"), ("StatefulSet", "edge")]
NEEDS_KUBECTL = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="kubectl is not installed: apt-get install kubernetes-client"
)


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `leads setup` writes, beside a clone."""
    folder = tmp_path_factory.mktemp("cluster") / "site"
    (folder / "pancake").mkdir(parents=True)
    for name, variables in FILES.items():
        lines = "".join(f"{each}=https://a%40b:8080/?x=1&y={each}\n" for each in variables)
        (folder / f"pancake/{name}.env").touch(mode=0o600)
        (folder / f"pancake/{name}.env").write_text(lines)
    (folder.parent / "pancake-diva").symlink_to(ROOT)
    write_values(folder)
    return folder


def write_values(folder: Path, **changed: str) -> None:
    """Write the overlay into a folder that has the environment files."""
    given = {
        "way": "kubernetes", "images": "registry.example.com/pancake", "engine_namespace": "diva",
        "engine_app": "graphql-engine",
    }  # fmt: skip
    files = read_env_files(folder / "pancake")
    for file in value_files(gather(given | changed, None, files), files.folder):
        file.path.unlink(missing_ok=True)
        file.write()


@pytest.fixture(scope="module")
def rendered(overlay: Path) -> list[dict[str, Any]]:
    return render(overlay)


def named(documents: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in documents if one["kind"] == kind}


@NEEDS_KUBECTL
def test_the_overlay_is_valid(rendered: list[dict[str, Any]]) -> None:
    """The oldest version with unhealthyPodEvictionPolicy in general use, and the newest known."""
    documents = [*rendered, *read("own-engine/hasura.yaml", "secrets.template.yaml")]
    for version in ("1.31", "1.36"):
        for document in [one for one in documents if one["kind"] not in CUSTOM]:
            kubernetes_validate.validate(document, version, strict=True)
    assert {one["kind"] for one in documents} > CUSTOM


@NEEDS_KUBECTL
def test_every_pod_is_restricted_and_the_migrations_run_by_hand_only(rendered: list[dict[str, Any]]) -> None:
    jobs = named(rendered, "CronJob")
    assert {name: job["spec"].get("suspend", False) for name, job in jobs.items()} == {
        "migrate": True, "backfill": False,
    }  # fmt: skip
    assert jobs["migrate"]["metadata"]["labels"]["app"] == "migrate", "what `--selector` of the page selects"
    for one in [each for each in rendered if each["kind"] in WORKLOADS]:
        pod = template_of(one)["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            context = container["securityContext"]
            assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


@NEEDS_KUBECTL
def test_everything_is_in_the_namespace_of_the_overlay(
    overlay: Path, rendered: list[dict[str, Any]], tmp_path: Path
) -> None:
    other = tmp_path / "site"
    shutil.copytree(overlay, other, symlinks=True)
    (tmp_path / "pancake-diva").symlink_to(ROOT)
    text = (overlay / "kustomization.yaml").read_text()
    (other / "kustomization.yaml").write_text(text.replace(f"namespace: {NAMESPACE}", "namespace: crm"))
    without = tmp_path / "without"
    shutil.copytree(other, without, symlinks=True)
    (without / "kustomization.yaml").write_text(text.replace(f"namespace: {NAMESPACE}\n", ""))
    for documents, namespace in (
        (rendered, NAMESPACE), (render(other), "crm"),
        ([one for one in render(without) if one["kind"] != "Secret"], NAMESPACE),
    ):  # fmt: skip
        assert [*named(documents, "Namespace")] == [namespace]
        placed = [one for one in documents if one["kind"] != "Namespace"]
        assert {one["metadata"].get("namespace") for one in placed} == {namespace}


@NEEDS_KUBECTL
def test_the_secrets_are_the_files_byte_for_byte_and_the_pods_read_them(
    overlay: Path, rendered: list[dict[str, Any]]
) -> None:
    secrets = {name.rpartition("-")[0]: (name, one) for name, one in named(rendered, "Secret").items()}
    assert secrets.keys() == FILES.keys()
    for name, (_, secret) in secrets.items():
        values = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        lines = "".join(f"{key}={values[key]}\n" for key in FILES[name])
        assert lines == (overlay / f"pancake/{name}.env").read_text()
    read_by = {
        container["name"]: [each["secretRef"]["name"] for each in container["envFrom"]]
        for one in rendered
        if one["kind"] in WORKLOADS
        for container in template_of(one)["spec"]["containers"]
    }
    names = {name: secret for name, (secret, _) in secrets.items()}
    of_jobs = {"migrate": [names["ops"], "owner"], "backfill": [names["ops"]]}
    assert read_by == {**{name: [names[name]] for name in names}, **of_jobs}


def test_no_manifest_sets_what_the_files_hold() -> None:
    """A variable in `env` would win over the file."""
    documents = read("handlers.yaml", "edge.yaml", "ops/ops.yaml")
    pods = [one["spec"]["template"]["spec"] for one in documents if "template" in one["spec"]]
    set_here = {
        each["name"] for pod in pods for container in pod["containers"] for each in container.get("env", [])
    }
    assert set_here == {"INGEST_CONNECTIONS", "WORK_CONNECTIONS", "EDGE_WORKERS", "EDGE_REAL_IP_FROM"}
    assert not set_here & {name for variables in FILES.values() for name in variables}


def test_the_template_of_the_secrets_has_the_variables_of_the_files() -> None:
    for name, secret in named(read("secrets.template.yaml"), "Secret").items():
        assert set(secret["stringData"]) == set(KEYS[f"{name}.env"])


@NEEDS_KUBECTL
def test_an_engine_in_another_namespace_is_two_values(rendered: list[dict[str, Any]]) -> None:
    policies = named(rendered, "NetworkPolicy")
    engine = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "diva"}},
        "podSelector": {"matchLabels": {"app": "graphql-engine"}},
    }
    (rule,) = policies["engine-calls-handlers"]["spec"]["ingress"]
    assert (rule["from"], rule["ports"]) == ([engine], [{"port": "http"}])
    (rule,) = policies["calls-to-engine"]["spec"]["egress"]
    assert rule["to"] == [engine]
    assert "of-the-overlay" not in str(rendered)
    assert "engine" not in named(rendered, "ConfigMap"), "it stays out of the cluster"


@NEEDS_KUBECTL
def test_an_engine_of_this_namespace_and_another_operator_are_answers(overlay: Path, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    shutil.copytree(overlay, folder)
    (tmp_path / "pancake-diva").symlink_to(ROOT)
    write_values(folder, engine_namespace=NAMESPACE, monitoring="prometheus")
    documents = render(folder)
    assert "engine-calls-handlers" not in named(documents, "NetworkPolicy")
    of_operator = [one for one in documents if one["kind"] in CUSTOM]
    assert [one["metadata"]["labels"]["release"] for one in of_operator] == ["prometheus"] * 3
    write_values(folder, monitoring=NO_MONITORING)
    assert not [one for one in render(folder) if one["kind"] in CUSTOM]


@NEEDS_KUBECTL
def test_prometheus_selects_monitors_and_rules(rendered: list[dict[str, Any]]) -> None:
    """Those of kube-prometheus-stack select by this label, and Services of the monitor's namespace."""
    found = [one for one in rendered if one["kind"] in CUSTOM]
    assert len(found) == 3
    assert {one["metadata"]["labels"]["release"] for one in found} == {MONITORING}
    labels = [one["metadata"]["labels"] for one in named(rendered, "Service").values()]
    for monitor in named(rendered, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        assert [each for each in labels if wanted <= each.items()]


def allows(policies: dict[str, dict[str, Any]], from_: dict[str, str], to: dict[str, str], port: Any) -> bool:
    """Whether the policies let pods with the first labels reach a port of pods with the second ones."""

    def open_(labels: dict[str, str], peer: dict[str, str], way: str, side: str) -> bool:
        for policy in policies.values():
            selected = policy["spec"]["podSelector"].get("matchLabels", {"": ""}).items() <= labels.items()
            for rule in policy["spec"].get(way, []) if selected else []:
                peers = [
                    each["podSelector"]["matchLabels"] for each in rule[side] if [*each] == ["podSelector"]
                ]
                ports = [each["port"] for each in rule["ports"]]
                if port in ports and any(each.items() <= peer.items() for each in peers):
                    return True
        return False

    return open_(to, from_, "ingress", "from") or open_(from_, to, "egress", "to")


@NEEDS_KUBECTL
def test_the_operators_pod_reaches_handlers_and_edge(rendered: list[dict[str, Any]]) -> None:
    policies = named(rendered, "NetworkPolicy")
    workloads = named(rendered, "Deployment") | named(rendered, "StatefulSet")
    labels = {name: one["spec"]["template"]["metadata"]["labels"] for name, one in workloads.items()}
    ops = labels["ops"]
    for name, ports in (("handlers", {"http": 8080, "ops": 9146}), ("edge", {"ops": 9145})):
        for port, number in ports.items():
            assert allows({name: policies[name]}, ops, labels[name], port), (name, port)
            assert allows({"ops": policies["operators"]}, ops, labels[name], number), (name, number)
            assert not allows(policies, labels["edge"], labels["handlers"], port)
    assert policies["operators"]["spec"]["podSelector"]["matchLabels"].items() <= ops.items()


def test_the_operator_gets_the_rules_of_prometheus() -> None:
    groups = [
        group
        for name in ("pancake", "edge", "meta")
        for group in yaml.safe_load((ROOT / f"deploy/prometheus/{name}.rules.yml").read_text())["groups"]
    ]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
        "metadata": {"name": "pancake", "labels": {"release": "kube-prometheus-stack"}},
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
def test_a_pod_has_time_to_stop(kind: str, name: str) -> None:
    pod = find(kind, name)["spec"]["template"]["spec"]
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= pause + SHUTDOWN_SECONDS + 5


def test_there_is_one_edge() -> None:
    """docs/runbook/edge.md: two edges would have two suspension budgets."""
    assert find("StatefulSet", "edge")["spec"]["replicas"] == 1
    assert {
        one["spec"]["scaleTargetRef"]["name"] for one in read() if one["kind"] == "HorizontalPodAutoscaler"
    } == {"handlers"}


def test_the_edge_stays_reachable_without_the_database() -> None:
    assert "readinessProbe" not in containers("StatefulSet", "edge")["handlers"]
    assert containers("StatefulSet", "edge")["edge"]["readinessProbe"]["httpGet"]["port"] == "ops"


def test_the_network_lets_through_what_the_ports_need() -> None:
    for kind, name in PODS:
        policy = find("NetworkPolicy", name)["spec"]
        assert policy["podSelector"]["matchLabels"] == {"app": name}
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        named = {port["name"] for one in containers(kind, name).values() for port in one["ports"]}
        open_ports = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
        # The process beside the edge is reached over loopback only.
        assert open_ports == (named - {"http"} if name == "edge" else named)
