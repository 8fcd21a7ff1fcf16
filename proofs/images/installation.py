"""A sandbox whose handlers and edge are containers: those of compose.production.yaml, then pods.

They are on the network of this machine and its loopback interface. Only networks and ports differ from an
installation.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
import yaml

from ops.setup.env_files import KEYS, OPTIONAL
from ops.waiting import poll
from proofs.chaos.effects import count_unfinished
from proofs.images.containers import PODMAN, REPOSITORY, VERSION, run
from sandbox.edge import state_key
from sandbox.postgres.database import handlers_url, operators_url
from sandbox.postgres.server import free_port
from sandbox.processes import ROOT, Service
from sandbox.stack.stack import Sandbox

FILE = ROOT / "compose.production.yaml"
MAX_WAIT_SECONDS = 60.0
FILES = {name: (*KEYS[f"{name}.env"], *OPTIONAL[f"{name}.env"]) for name in ("handlers", "edge", "ops")}
"""The environment files that the services read, as `leads setup` writes them, and their variables."""


class Installation(Sandbox):
    """A sandbox whose handlers and edge run as compose.production.yaml says."""

    def __init__(self) -> None:
        super().__init__()
        self.project = f"pancake-{token_hex(4)}"
        self.ops_ports = {"handlers": free_port(), "edge": free_port()}
        self._state_keys = state_key()
        self._socket = self.home / "podman.sock"

    def close(self) -> None:
        if self._socket.exists():
            with suppress(subprocess.SubprocessError):
                self.compose("--profile", "ops", "down", "--volumes", "--remove-orphans", "--timeout", "0")
        super().close()

    def _replicas(self) -> list[Service]:
        self._open_socket()
        self.write_files(self.home / "pancake")
        self._write_override()
        handlers = self._service_of_compose("handlers", f"http://127.0.0.1:{self._ports['handlers']}")
        return [handlers]

    def _edge(self) -> Service:
        return self._service_of_compose("edge", f"http://127.0.0.1:{self.ops_ports['edge']}")

    def _service_of_compose(self, name: str, url: str) -> Service:
        service = self._module(name, "", ready="/healthz")
        service.arguments = self._command("up", "--no-deps", "--no-log-prefix", "--no-color", name)
        service.environment = self._environment_of_compose()
        service.url = url
        return service

    def _open_socket(self) -> None:
        """Let podman answer docker-compose."""
        command = [*PODMAN, "system", "service", "--time", "0", f"unix://{self._socket}"]
        with (self.home / "podman.log").open("w") as log:
            self._processes.start(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._socket.exists)

    def write_files(self, folder: Path, edge: Mapping[str, str] | None = None) -> None:
        """Write the environment files of the services; `edge`: other values in that of the edge."""
        given = {
            **self.environment(), **self._service_variables(), "EDGE_STATE_KEYS": self._state_keys,
            "EDGE_STATUS_URL": f"http://127.0.0.1:{self.ops_ports['edge']}",
        }  # fmt: skip
        databases = {"handlers": handlers_url(self.database_url), "ops": operators_url(self.database_url)}
        folder.mkdir(mode=0o700)
        for name, variables in FILES.items():
            database = databases.get(name, "")
            values = {**given, "DATABASE_URL": database, "METADATA_DATABASE_URL": database}
            values |= (edge or {}) if name == "edge" else {}
            path = folder / f"{name}.env"
            path.touch(mode=0o600)
            path.write_text("".join(f"{each}={values[each]}\n" for each in variables if each in values))

    def listen_files(self) -> list[tuple[Path, str]]:
        """Write the edge's addresses on the loopback interface; each file with its place in the image."""
        ports = {"listen": self._ports["edge"], "ops": self.ops_ports["edge"]}
        files = [(self.home / f"{name}.conf", f"/etc/pancake-edge/site/{name}.conf") for name in ports]
        for (path, _), port in zip(files, ports.values(), strict=True):
            path.write_text(f"listen 127.0.0.1:{port} default_server;\n")
        return files

    def addresses(self) -> dict[str, str]:
        """Return the variables with the addresses of the handlers."""
        ports = {"BIND": self._ports["handlers"], "OPS_BIND": self.ops_ports["handlers"]}
        return {name: f"127.0.0.1:{port}" for name, port in ports.items()}

    def _write_override(self) -> None:
        services = yaml.safe_load(FILE.read_text())["services"]
        ports = {"8080": self._ports["handlers"], "9145": self.ops_ports["edge"]}

        def moved(name: str) -> dict[str, Any]:
            """The service on this machine's network, with its healthcheck at its port here."""
            test = services[name]["healthcheck"]["test"]
            for port, here in ports.items():
                test = [word.replace(port, str(here)) for word in test]
            return {"network_mode": "host", "healthcheck": {"test": test}}

        mounts = [f"{path}:{place}:ro" for path, place in self.listen_files()]
        override = {
            "pod": {"profiles": ["bridge"]},
            "handlers": {**moved("handlers"), "environment": self.addresses()},
            "edge": {**moved("edge"), "volumes": mounts},
            "ops": {"network_mode": "host"},
        }
        (self.home / "override.yaml").write_text(json.dumps({"services": override}))

    def _command(self, *words: str) -> list[str]:
        return [
            "docker-compose", "--project-name", self.project, "--project-directory", str(self.home),
            "--file", str(FILE), "--file", str(self.home / "override.yaml"), *words,
        ]  # fmt: skip

    def _environment_of_compose(self) -> Mapping[str, str]:
        own = {"DOCKER_HOST": f"unix://{self._socket}", "PANCAKE_IMAGES": REPOSITORY, "VERSION": VERSION}
        return os.environ | own

    def compose(self, *words: str) -> str:
        """Run docker-compose with the files of the installation, and return its output."""
        return subprocess.run(
            self._command(*words), env=self._environment_of_compose(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip

    def leads(self, *words: str) -> str:
        """Run a verb of the operators' command as docs/production.md says."""
        return self.compose("run", "--rm", "--no-deps", "--no-TTY", "ops", *words)

    def list_folder_of_setup(self) -> str:
        """List the folder as the user whose it is; without capabilities root is a user like any other."""
        words = ("run", "--rm", "--no-deps", "--no-TTY", "--user", "0:0", "--entrypoint", "ls")
        return self.compose(*words, "ops", "pancake")

    def limits(self, name: str) -> tuple[str, bool]:
        """Return how the container of a service runs, and whether it is as it should be."""
        container = f"{self.project}-{name}-1"
        (found,) = json.loads(run(*PODMAN, "container", "inspect", container))
        host, user = found["HostConfig"], found["Config"]["User"]
        # podman runs no healthcheck by itself where there is no systemd.
        healthy = subprocess.run([*PODMAN, "healthcheck", "run", container], capture_output=True, check=False)
        said = f"user {user}, {host['Memory'] >> 20} MB, {found['RestartCount']} restarts"
        is_ok = bool(user and host["Memory"] and host["ReadonlyRootfs"]) and healthy.returncode == 0
        return said, is_ok

    def wait_policy(self) -> None:
        """Wait until the edge knows the connection."""
        url = f"http://127.0.0.1:{self.ops_ports['edge']}/healthz"
        wait_until(lambda: bool(httpx.get(url).json()["policy_connections"]))

    def is_done(self, volume: str) -> bool:
        """Whether the spool on this volume is empty and every event is final."""
        folder = Path(run(*PODMAN, "volume", "inspect", "--format", "{{.Mountpoint}}", volume).strip())
        spooled = list((folder / "spool").glob("[!.]*.sealed"))
        return not spooled and not count_unfinished(self.database_url)


def wait_until(is_reached: Any) -> None:
    """Ask until it is true, or for MAX_WAIT_SECONDS; the result is judged later."""
    for _ in poll(MAX_WAIT_SECONDS, 0.1):
        if is_reached():
            return
