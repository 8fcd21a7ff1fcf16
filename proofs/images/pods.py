"""The pods of deploy/kubernetes, from the overlay of its README, as pods of podman beside a sandbox."""

import os
import re
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from proofs.images.containers import PODMAN, run, tag
from proofs.images.installation import (
    SETUP_BY_CONTAINER,
    WITH_DOCKER,
    Installation,
    answers,
    count_spooled,
    wait_until,
)
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import ROOT

README = ROOT / "deploy/kubernetes/README.md"
BLOCK = re.compile(r"^ *```yaml\n(.*?)^ *```", re.S | re.M)
WORKLOADS = ("Deployment", "StatefulSet", "CronJob")


def write_overlay(folder: Path) -> None:
    """Write the overlay of the README, word for word, into a folder with the files of `leads setup`."""
    overlay, engine = BLOCK.findall(README.read_text())[:2]
    for name, text in (("kustomization.yaml", overlay), ("engine.yaml", engine)):
        (folder / name).write_text(re.sub("^   ", "", text, flags=re.M))
    (folder.parent / "pancake-diva").symlink_to(ROOT)


def render(folder: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(run("kubectl", "kustomize", str(folder), seconds=30)))


def template_of(workload: dict[str, Any]) -> dict[str, Any]:
    """Return the template of the pods of a workload."""
    spec = workload["spec"]
    return dict(
        spec["jobTemplate"]["spec"]["template"] if workload["kind"] == "CronJob" else spec["template"]
    )


class Pods(Installation):
    """One pod of each template; the operators' pod and the edge share a volume, as in a cluster.

    What `kubectl apply -k`, `kubectl cp` and `kubectl exec` do is done by podman: there is no cluster.
    """

    way = "pods"
    setup = SETUP_BY_CONTAINER
    switch = 'leads switch kill off --reason "go-live"'
    finish = "leads setup --finish"
    check = "leads doctor"

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._file = self.home / "pods.yaml"
        self._beside_edge = free_port()
        """Where the process of the handlers in the pod of the edge listens."""
        self.names: list[str] = []
        self.have_jobs_ended_well = False
        """The migrations, which are there already, and the backfill, which finds no account."""

    def answers(self) -> dict[str, Any]:
        return super().answers() | {"edge_handlers_url": f"http://127.0.0.1:{self._beside_edge}"}

    def prepare(self) -> None:
        """Put the overlay of the README into the folder."""
        self.session.environment = os.environ | WITH_DOCKER
        write_overlay(self.folder)

    def apply(self) -> None:
        """Start the pods, and give the folder of setup to the operators' pod, as `kubectl cp` does."""
        documents = render(self.folder)
        workloads = [one for one in documents if one["kind"] in WORKLOADS]
        pods = [self._pod(one) for one in workloads]
        owner = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "owner"}}
        owner["stringData"] = {"DATABASE_URL": self.database_url}
        secrets = [owner, *(one for one in documents if one["kind"] == "Secret")]
        for secret in secrets:
            secret["metadata"]["name"] = self._own(secret["metadata"]["name"])
        self._file.touch(mode=0o600)
        self._file.write_text(yaml.safe_dump_all([*secrets, *pods]))
        run(*PODMAN, "kube", "play", "--replace", str(self._file))
        here = f"http://127.0.0.1:{self._beside_edge}"
        for url in (self.handlers_url, here, f"http://127.0.0.1:{self.ops_ports['edge']}"):
            wait_until(partial(answers, f"{url}/healthz"))
        self.names = [pod["metadata"]["name"] for pod in pods]
        self.have_jobs_ended_well = self._wait_for_jobs()
        packed = subprocess.run(
            ["tar", "--create", "pancake"], cwd=self.folder, capture_output=True, check=True
        ).stdout  # fmt: skip
        unpack = [*PODMAN, "exec", "--interactive", self._ops, "tar", "--extract", "--no-same-owner"]
        subprocess.run(unpack, input=packed, capture_output=True, check=True)
        self.session.prefix = [
            *PODMAN, "exec", "--env", f"OWNER_DATABASE_URL={self.database_url}", self._ops,
        ]  # fmt: skip

    def _pod(self, workload: dict[str, Any]) -> dict[str, Any]:
        """The pod that the workload would make, on this machine's network, with the images built here."""
        name = workload["metadata"]["name"]
        template = template_of(workload)
        spec = template["spec"]
        spec["hostNetwork"] = True
        for claim in workload["spec"].get("volumeClaimTemplates", []):
            claimed = claim["metadata"]["name"]
            volume = {"name": claimed, "persistentVolumeClaim": {"claimName": f"{claimed}-{name}-0"}}
            spec["volumes"].append(volume)
        for volume in spec["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                claim["claimName"] = self._own(claim["claimName"])
        for container in spec["containers"]:
            image = container["image"].rpartition("/")[2].partition(":")[0]
            for each in container["envFrom"]:
                each["secretRef"]["name"] = self._own(each["secretRef"]["name"])
            container |= {"image": tag(image), "imagePullPolicy": "Never", "ports": []}
            if image == "handlers":
                addresses = self.addresses()
                if name == "edge":
                    addresses = {
                        "BIND": f"127.0.0.1:{self._beside_edge}",
                        "OPS_BIND": f"127.0.0.1:{free_port()}",
                    }
                container["env"] += [{"name": key, "value": value} for key, value in addresses.items()]
            for each in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
                container.pop(each, None)  # kubelet's work; the ports are others here
            if image == "edge":
                for number, (path, file) in enumerate(self.listen_files()):
                    place = f"/etc/pancake-edge/site/{file}"
                    spec["volumes"].append({"name": f"port-{number}", "hostPath": {"path": str(path)}})
                    container["volumeMounts"].append({"name": f"port-{number}", "mountPath": place})
        metadata = {"name": self._own(name), "labels": template["metadata"]["labels"]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _own(self, name: str) -> str:
        """Podman has one name space for all volumes and secrets of this machine."""
        return f"{self.project}-{name}"

    @property
    def _ops(self) -> str:
        return self._own("ops-ops")

    def _wait_for_jobs(self) -> bool:
        names = (self._own("migrate-migrate"), self._own("backfill-backfill"))
        return [run(*PODMAN, "wait", name, seconds=120).strip() for name in names] == ["0", "0"]

    def leads(self, *words: str) -> str:
        return run(*PODMAN, "exec", self._ops, "leads", *words)

    def count_spooled(self) -> int:
        return count_spooled(self._own("state-edge-0"))

    def close(self) -> None:
        if self._file.exists():
            subprocess.run(
                [*PODMAN, "kube", "down", "--force", str(self._file)], capture_output=True, check=False
            )
        super().close()
