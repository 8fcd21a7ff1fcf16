"""The pods of deploy/kubernetes, from the overlay of its README, as pods of podman beside a sandbox."""

import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import yaml

from proofs.images.containers import PODMAN, run, tag
from proofs.images.installation import Installation, wait_until
from sandbox.postgres.server import free_port
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


class Pods:
    """One pod of each template; the operators' pod and the edge share a volume, as in a cluster."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._file = installation.home / "pods.yaml"
        self._beside_edge = free_port()
        """Where the process of the handlers in the pod of the edge listens."""

    def start(self) -> list[str]:
        """Start the pods, and return their names when each container is ready."""
        installation = self._installation
        folder = installation.home / "overlay" / "site"
        folder.mkdir(parents=True)
        here = f"http://127.0.0.1:{self._beside_edge}"
        installation.write_files(folder / "pancake", edge={"HANDLERS_URL": here})
        write_overlay(folder)
        documents = render(folder)
        workloads = [one for one in documents if one["kind"] in WORKLOADS]
        pods = [self._pod(one) for one in workloads]
        owner = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "owner"}}
        owner["stringData"] = {"DATABASE_URL": installation.database_url}
        secrets = [owner, *(one for one in documents if one["kind"] == "Secret")]
        for secret in secrets:
            secret["metadata"]["name"] = self._own(secret["metadata"]["name"])
        self._file.touch(mode=0o600)
        self._file.write_text(yaml.safe_dump_all([*secrets, *pods]))
        run(*PODMAN, "kube", "play", "--replace", str(self._file))
        for url in (installation.handlers_url, here, f"http://127.0.0.1:{installation.ops_ports['edge']}"):
            wait_until(lambda url=url: _answers(f"{url}/healthz"))
        installation.wait_policy()
        return [pod["metadata"]["name"] for pod in pods]

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
                addresses = self._installation.addresses()
                if name == "edge":
                    addresses = {
                        "BIND": f"127.0.0.1:{self._beside_edge}",
                        "OPS_BIND": f"127.0.0.1:{free_port()}",
                    }
                container["env"] += [{"name": key, "value": value} for key, value in addresses.items()]
            for each in ("startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
                container.pop(each, None)  # kubelet's work; the ports are others here
            if image == "edge":
                for number, (path, place) in enumerate(self._installation.listen_files()):
                    spec["volumes"].append({"name": f"port-{number}", "hostPath": {"path": str(path)}})
                    container["volumeMounts"].append({"name": f"port-{number}", "mountPath": place})
        metadata = {
            "name": f"{self._installation.project}-{name}",
            "labels": template["metadata"]["labels"],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _own(self, name: str) -> str:
        """Podman has one name space for all volumes and secrets of this machine."""
        return f"{self._installation.project}-{name}"

    @property
    def volume(self) -> str:
        """The volume with the state of the edge."""
        return self._own("state-edge-0")

    def migrate(self) -> bool:
        """Wait for the end of the migrations, and say whether they were applied or there."""
        name = self._own("migrate-migrate")
        return run(*PODMAN, "wait", name, seconds=120).strip() == "0"

    def leads(self, *words: str) -> str:
        """Run a verb of the operators' command in its pod."""
        return run(*PODMAN, "exec", f"{self._installation.project}-ops-ops", "leads", *words)

    def close(self) -> None:
        """Remove the pods, their secrets and their volumes."""
        if self._file.exists():
            subprocess.run(
                [*PODMAN, "kube", "down", "--force", str(self._file)], capture_output=True, check=False
            )


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False
