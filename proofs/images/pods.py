"""The pods of deploy/kubernetes, from the overlay that `leads setup` writes, as pods of podman."""

import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from ops.setup.answers import Way
from ops.setup.values import IMAGES
from proofs.images.containers import PODMAN, REPOSITORY, exec_in, run
from proofs.images.installation import (
    BY_CONTAINER,
    SETUP_BY_CONTAINER,
    WITH_DOCKER,
    Installation,
    answers,
    count_spooled,
    limits_of,
    wait_until,
)
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import ROOT

WORKLOADS = ("Deployment", "StatefulSet", "CronJob")


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

    What `kubectl apply -k`, `scale`, `cp` and `exec` do is done by podman: there is no cluster.
    """

    way = "pods"
    setup = SETUP_BY_CONTAINER
    switch = 'leads switch kill off --reason "go-live"'
    finish = "leads setup --finish"
    check = "leads doctor"
    back = ("leads setup --undo --yes",)
    project_name = "hasura"
    # The process of the handlers in the pod of the edge stores them.
    spools_without_handlers = False
    # What a person types goes through kubectl, for which there is no cluster here.
    is_recorded = False

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._file = self.home / "pods.yaml"
        self._beside_edge = free_port()
        """Where the process of the handlers in the pod of the edge listens."""

    def answers(self) -> dict[str, Any]:
        return super().answers() | {
            "edge_handlers_url": f"http://127.0.0.1:{self._beside_edge}", "way": Way.KUBERNETES.value,
            "images": REPOSITORY, "engine_namespace": "diva", "engine_app": "graphql-engine",
        }  # fmt: skip

    def prepare(self) -> None:
        """Have a clone beside the folder, as the overlay expects it."""
        self.session.environment = os.environ | WITH_DOCKER
        (self.folder.parent / IMAGES).symlink_to(ROOT)

    def apply(self) -> None:
        """Start the pods, and give the files of setup and the project to the operators' pod."""
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
        self._copy("pancake", self.project_name, to_pod=True)
        self.have_jobs_ended()  # beside that of the migrations --finish is refused
        self.session.prefix = [
            *PODMAN, "exec", "--env", f"OWNER_DATABASE_URL={self.database_url}", self._ops,
        ]  # fmt: skip

    def _copy(self, *folders: str, to_pod: bool) -> None:
        """Copy folders to the operators' pod, or back, as `kubectl cp` does; no file is removed there."""
        for folder in folders:
            if to_pod:
                run(*PODMAN, "cp", str(self.folder / folder), f"{self._ops}:/data")
            else:
                run(*PODMAN, "cp", f"{self._ops}:/data/{folder}", str(self.folder))

    def take_back(self) -> str:
        """Take the project with its crons from the operators' pod, and stop the handlers, too; then undo."""
        self._copy("pancake", self.project_name, to_pod=False)
        self.stop("handlers")
        return super().take_back()

    def end(self) -> None:
        """Take the dump from the pod. A copy of the project would remove no file: unmerge it here."""
        self._copy("pancake", to_pod=False)
        self.session.prefix = ()
        self.session.run(f"{BY_CONTAINER} metadata unmerge {self.project_name}")

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
            image = container["image"].removeprefix(f"{REPOSITORY}/").partition(":")[0]
            for each in container["envFrom"]:
                each["secretRef"]["name"] = self._own(each["secretRef"]["name"])
            container |= {"imagePullPolicy": "Never", "ports": []}
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

    def have_jobs_ended(self) -> bool:
        """Whether the migrations, which are there already, and the backfill have ended well."""
        names = (self._own("migrate-migrate"), self._own("backfill-backfill"))
        return [run(*PODMAN, "wait", name, seconds=120).strip() for name in names] == ["0", "0"]

    def stop(self, name: str) -> None:
        run(*PODMAN, "pod", "stop", "--time", "40", self._own(name))

    def start_again(self, name: str) -> None:
        run(*PODMAN, "pod", "start", self._own(name))

    def limits(self, name: str) -> tuple[str, bool]:
        return limits_of(self._own(f"{name}-{name}"))

    def leads(self, *words: str) -> str:
        done = exec_in(self._ops, "leads", *words)
        done.check_returncode()
        return done.stdout

    def count_spooled(self) -> int:
        return count_spooled(self._own("state-edge-0"))

    def close(self) -> None:
        if self._file.exists():
            subprocess.run(
                [*PODMAN, "kube", "down", "--force", str(self._file)], capture_output=True, check=False
            )
        super().close()
