"""The four commands of docs/install.md, beside a sandbox's database, engine and Pancake.

Containers are on the network of this machine and its loopback interface. Only networks and ports differ from
an installation.
"""

import json
import os
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

import httpx
import psycopg
import yaml

from ops.waiting import poll
from proofs.chaos.effects import count_unfinished
from proofs.images.containers import PODMAN, REPOSITORY, VERSION, run, tag
from proofs.images.session import Session
from sandbox.diva.project import copy_project
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import ROOT
from sandbox.stack.connection import STAFF
from sandbox.stack.customer import Customer

FILE = ROOT / "compose.production.yaml"
MAX_WAIT_SECONDS = 60.0
OVERRIDE = "override.yaml"
WITH_DOCKER = {"PATH": f"{Path(__file__).parent / 'bin'}:{os.environ['PATH']}"}
"""An environment that finds Docker's command line."""

SETUP_BY_CONTAINER = (
    f'docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" {tag("ops")} setup'
    " --answers answers.yaml"
)


class Installation(Customer, ABC):
    """A way to install: its commands, and how what runs is looked at. `start` installs."""

    way: ClassVar[str]
    setup: ClassVar[str]
    start_services: ClassVar[str]
    finish: ClassVar[str]
    switch: ClassVar[str]
    check: ClassVar[str]

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, Path())
        self.folder = self.home / "site"
        self.project = f"pancake-{token_hex(4)}"
        self.ops_ports = {"handlers": free_port(), "edge": free_port()}
        self.session = Session(self.way, folder=self.folder)

    def answers(self) -> dict[str, Any]:
        return super().answers() | {"edge_status_url": f"http://127.0.0.1:{self.ops_ports['edge']}"}

    def start(self) -> None:
        """Start what the customer has; then install."""
        super().start()
        self.folder.mkdir()
        self.write_answers()
        self.prepare()
        session = self.session
        session.run(self.setup, code=1)
        session.note("As it says: the engine gets the lines of engine.env, and is restarted.")
        lines = (line.partition("=") for line in self.read("engine.env").splitlines())
        self.restart_engine_with({name: value for name, _, value in lines})
        session.run(self.setup)
        self.apply()
        session.run(self.finish)
        session.run(self.switch)
        session.run(self.check)
        token = self.read("webhook-url.txt").split()[0].rpartition("/")[2]
        self.webhook_url = f"http://127.0.0.1:{self._ports['edge']}/api/pancake/record/{token}"

    @abstractmethod
    def prepare(self) -> None:
        """Do what comes before the first command."""

    def apply(self) -> None:
        """Start the services."""
        self.session.run(self.start_services)

    def read(self, name: str) -> str:
        """Return the text of a file of `leads setup`."""
        return (self.folder / "pancake" / name).read_text()

    @abstractmethod
    def leads(self, *words: str) -> str:
        """Run a verb of the operators' command as docs/production.md says."""

    @abstractmethod
    def count_spooled(self) -> int:
        """Count the deliveries in the spool of the edge."""

    def listen_files(self) -> list[tuple[Path, str]]:
        """Write the edge's addresses on the loopback interface; each file with its name below site/."""
        ports = {"listen": self._ports["edge"], "ops": self.ops_ports["edge"]}
        files = [(self.home / f"{name}.conf", f"{name}.conf") for name in ports]
        for (path, _), port in zip(files, ports.values(), strict=True):
            path.write_text(f"listen 127.0.0.1:{port} default_server;\n")
        return files

    def addresses(self) -> dict[str, str]:
        """Return the variables with the addresses of the handlers."""
        ports = {"BIND": self._ports["handlers"], "OPS_BIND": self.ops_ports["handlers"]}
        return {name: f"127.0.0.1:{port}" for name, port in ports.items()}

    def is_ready(self) -> bool:
        """Whether the handlers answer."""
        return answers(f"{self.handlers_url}/healthz")

    def is_done(self) -> bool:
        """Whether the spool is empty and every event is final."""
        return not self.count_spooled() and not count_unfinished(self.database_url)


class ServiceInstallation(Installation):
    """An installation that is also stopped, started again and taken back; pods need a cluster for that."""

    back: ClassVar[tuple[str, str]]
    """What stops the services, and what takes the installation back."""

    def take_back(self) -> int:
        """Stop the services and undo the installation; return how many of its tables are left."""
        self.session.note("The way back.")
        for command in self.back:
            self.session.run(command)
        with psycopg.connect(self.database_url) as db:
            left = db.execute("SELECT FROM pg_tables WHERE tablename LIKE 'pancake%'").fetchall()
        return len(left)

    @abstractmethod
    def stop(self, name: str) -> None:
        """Stop handlers or edge, and wait until it has ended."""

    @abstractmethod
    def start_again(self, name: str) -> None:
        """Start a service that was stopped."""

    @abstractmethod
    def limits(self, name: str) -> tuple[str, bool]:
        """Return how a service runs, and whether it is as it should be."""

    @abstractmethod
    def has_backfill_ended(self) -> bool:
        """Whether the service of the backfill has ended well, for no account waits."""


class Compose(ServiceInstallation):
    """compose.production.yaml, by docker-compose on podman."""

    way = "compose"
    setup = SETUP_BY_CONTAINER
    start_services = "docker compose up --detach"
    finish = (
        'docker compose run --rm --no-TTY --user "$(id -u):$(id -g)" -e OWNER_DATABASE_URL'
        ' --volume "$PWD/hasura:/data/hasura" ops setup --finish'
    )
    switch = 'docker compose run --rm --no-TTY ops switch kill off --reason "go-live"'
    check = "docker compose run --rm --no-TTY ops doctor"
    back = ("docker compose down", f"{SETUP_BY_CONTAINER} --undo --yes")

    def answers(self) -> dict[str, Any]:
        return super().answers() | {"project": "hasura", "roster": "pancake/roster.csv"}

    def prepare(self) -> None:
        """Put the compose file into the folder, with an override of networks and ports, and start podman.

        The customer has a project of the Hasura CLI and a roster.
        """
        copy_project(self.folder / "hasura")
        (self.folder / "pancake").mkdir(mode=0o700)
        (self.folder / "pancake/roster.csv").write_text("".join(f"{each},1\n" for each in STAFF))
        (self.folder / FILE.name).write_text(FILE.read_text())
        (self.folder / ".env").write_text(f"PANCAKE_IMAGES={REPOSITORY}\nVERSION={VERSION}\n")
        (self.folder / OVERRIDE).write_text(json.dumps({"services": self._services()}))
        socket = self.home / "podman.sock"
        with (self.home / "podman.log").open("w") as log:
            command = [*PODMAN, "system", "service", "--time", "0", f"unix://{socket}"]
            self._processes.start(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(socket.exists)
        self.session.environment = os.environ | WITH_DOCKER | {
            "DOCKER_HOST": f"unix://{socket}",
            "COMPOSE_FILE": f"{FILE.name}:{OVERRIDE}", "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_ANSI": "never", "OWNER_DATABASE_URL": self.database_url,
        }  # fmt: skip

    def close(self) -> None:
        if self.session.environment:
            with suppress(subprocess.SubprocessError):
                self.compose("--profile", "ops", "down", "--volumes", "--remove-orphans", "--timeout", "0")
        super().close()

    def _services(self) -> dict[str, Any]:
        services = yaml.safe_load(FILE.read_text())["services"]
        ports = {"8080": self._ports["handlers"], "9145": self.ops_ports["edge"]}

        def moved(name: str) -> dict[str, Any]:
            """The service on this machine's network, with its healthcheck at its port here."""
            test = services[name]["healthcheck"]["test"]
            for port, here in ports.items():
                test = [word.replace(port, str(here)) for word in test]
            return {"network_mode": "host", "healthcheck": {"test": test}}

        mounts = [f"{path}:/etc/pancake-edge/site/{name}:ro" for path, name in self.listen_files()]
        return {
            "pod": {"profiles": ["bridge"]},
            "handlers": {**moved("handlers"), "environment": self.addresses()},
            "edge": {**moved("edge"), "volumes": mounts},
            "ops": {"network_mode": "host"},
            "backfill": {"network_mode": "host"},
        }

    def compose(self, *words: str) -> str:
        """Run docker-compose with the files of the installation, and return its output."""
        return subprocess.run(
            ["docker-compose", *words], cwd=self.folder, env=self.session.environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, timeout=120,
        ).stdout  # fmt: skip

    def leads(self, *words: str) -> str:
        return self.compose("run", "--rm", "--no-TTY", "ops", *words)

    def count_spooled(self) -> int:
        return count_spooled(f"{self.project}_edge")

    def stop(self, name: str) -> None:
        self.compose("stop", name)

    def start_again(self, name: str) -> None:
        self.compose("start", name)

    def has_backfill_ended(self) -> bool:
        state = "{{.State.Status}} {{.State.ExitCode}}"
        name = f"{self.project}-backfill-1"
        return run(*PODMAN, "container", "inspect", "--format", state, name).strip() == "exited 0"

    def limits(self, name: str) -> tuple[str, bool]:
        container = f"{self.project}-{name}-1"
        (found,) = json.loads(run(*PODMAN, "container", "inspect", container))
        host, user = found["HostConfig"], found["Config"]["User"]
        # podman runs no healthcheck by itself where there is no systemd.
        healthy = subprocess.run([*PODMAN, "healthcheck", "run", container], capture_output=True, check=False)
        said = f"user {user}, {host['Memory'] >> 20} MB, {found['RestartCount']} restarts"
        is_ok = bool(user and host["Memory"] and host["ReadonlyRootfs"]) and healthy.returncode == 0
        return said, is_ok


def count_spooled(volume: str) -> int:
    """Count the deliveries in the spool on a volume of podman."""
    folder = Path(run(*PODMAN, "volume", "inspect", "--format", "{{.Mountpoint}}", volume).strip())
    return len(list((folder / "spool").glob("[!.]*.sealed")))


def answers(url: str) -> bool:
    """Whether a URL answers 200."""
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


def wait_until(is_reached: Any) -> None:
    """Ask until it is true, or for MAX_WAIT_SECONDS; the result is judged later."""
    for _ in poll(MAX_WAIT_SECONDS, 0.1):
        if is_reached():
            return
