"""The four commands of docs/install.md, beside a sandbox's database, engine and Pancake.

Containers are on the network of this machine and its loopback interface. Only networks and ports differ from
an installation.
"""

import json
import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

import httpx
import psycopg
import yaml

from ops.setup.answers import Way
from ops.setup.values import START
from ops.waiting import poll
from proofs.chaos.effects import count_unfinished
from proofs.images.containers import PODMAN, REPOSITORY, run, tag, until_started
from sandbox.diva.project import copy_project
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import ROOT
from sandbox.stack.bare import Customer
from sandbox.stack.connection import STAFF

FILE = ROOT / "compose.production.yaml"
MAX_WAIT_SECONDS = 60.0
OVERRIDE = "override.yaml"
WITH_DOCKER = {"PATH": f"{Path(__file__).parent / 'bin'}:{os.environ['PATH']}"}
"""An environment that finds Docker's command line."""

BY_CONTAINER = f'docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" {tag("ops")}'
SETUP_BY_CONTAINER = f"{BY_CONTAINER} setup --answers answers.yaml"


MAX_SECONDS = 300.0
"""How long the four commands may take a machine."""


@dataclass
class Session:
    """The commands of one way to install, run one after the other by a shell; `prefix`: where."""

    way: str
    prefix: Sequence[str] = ()
    folder: Path = Path()
    environment: Mapping[str, str] | None = None
    seconds: float = 0.0
    lines: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Write what happens between two commands."""
        self.lines += ["", f"# {text}"]

    def run(self, command: str, code: int = 0) -> str:
        """Run a command; return what it printed. Raises CalledProcessError for another exit code."""
        started = time.monotonic()
        done = until_started(lambda: subprocess.run(
            [*self.prefix, "bash", "-c", command], cwd=self.folder, env=self.environment, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
            check=False,
        ))  # fmt: skip
        seconds = time.monotonic() - started
        self.seconds += seconds
        printed = [line.rstrip() for line in done.stdout.splitlines()]
        said = f"# {seconds:.0f} s" + (f", exit code {done.returncode}" if done.returncode else "")
        self.lines += ["", f"$ {command}", *printed, said]
        if done.returncode != code:
            raise subprocess.CalledProcessError(done.returncode, [command], "\n".join(self.lines[-60:]), "")
        return done.stdout

    def write(self) -> Path:
        """Write the session below docs/."""
        path = ROOT / "docs" / f"install-{self.way}.txt"
        head = [
            f"# Recorded by `scripts/images --record` on {datetime.now(UTC):%Y-%m-%d}; the addresses",
            f"# are those of a sandbox. The commands took {self.seconds:.0f} s.",
        ]
        path.write_text("\n".join([*head, *self.lines]) + "\n")
        return path


class Installation(Customer, ABC):
    """A way to install: its commands, and how what runs is looked at. `start` installs."""

    way: ClassVar[str]
    setup: ClassVar[str]
    start_services: ClassVar[str]
    finish: ClassVar[str]
    switch: ClassVar[str]
    check: ClassVar[str]
    back: ClassVar[tuple[str, ...]]
    """What stops the services, and what takes the installation back."""
    project_name = ""
    """The customer's project of the Hasura CLI, if one is merged into."""
    spools_without_handlers = True
    """Whether the edge keeps deliveries while the handlers that the engine calls are away."""
    is_recorded = True
    """Whether a person types what is run."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, Path())
        self.folder = self.home / "site"
        self.project = f"pancake-{token_hex(4)}"
        self.ops_ports = {"handlers": free_port(), "edge": free_port()}
        self.session = Session(self.way, folder=self.folder)

    def answers(self) -> dict[str, Any]:
        status_url = f"http://127.0.0.1:{self.ops_ports['edge']}"
        return super().answers() | {"edge_status_url": status_url, "project": self.project_name}

    def start(self) -> None:
        """Start what the customer has; then install."""
        super().start()
        self.folder.mkdir()
        if self.project_name:
            copy_project(self.folder / self.project_name)
            shutil.copytree(self.folder / self.project_name, self.home / "project-before")
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

    def refuses_undo(self) -> bool:
        """Whether the undo is refused while the handlers run."""
        self.session.note("Too early: the handlers still run.")
        return "The handlers still run" in " ".join(self.session.run(self.back[-1], code=1).split())

    def take_back(self) -> str:
        """Stop the services and undo the installation; return what is left of it, which should be nothing."""
        self.session.note("The way back.")
        for command in self.back:
            self.session.run(command)
        self.end()
        with psycopg.connect(self.database_url) as db:
            rows = db.execute("SELECT tablename FROM pg_tables WHERE tablename LIKE 'pancake%'").fetchall()
        return ", ".join([*(name for (name,) in rows), *self.changed_files_of_project()])

    def end(self) -> None:
        """Do what a person does after the undo."""

    def changed_files_of_project(self) -> list[str]:
        """Return the files of the customer's project that are not as they were before the installation."""
        if not self.project_name:
            return []
        before, after = (
            {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
            for root in (self.home / "project-before", self.folder / self.project_name)
        )
        return sorted(str(name) for name in {*before, *after} if before.get(name) != after.get(name))

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
    def have_jobs_ended(self) -> bool:
        """Whether the backfill, for which no account waits, has ended well, and what else runs once."""

    def is_ready(self) -> bool:
        """Whether the handlers answer."""
        return answers(f"{self.handlers_url}/healthz")

    def is_done(self) -> bool:
        """Whether the spool is empty and every event is final."""
        return not self.count_spooled() and not count_unfinished(self.database_url)


class Compose(Installation):
    """compose.production.yaml, by docker-compose on podman."""

    way = "compose"
    setup = SETUP_BY_CONTAINER
    start_services = START[Way.COMPOSE]
    finish = (
        'docker compose run --rm --no-TTY --user "$(id -u):$(id -g)" -e OWNER_DATABASE_URL'
        ' --volume "$PWD:/site" --workdir /site ops setup --finish'
    )
    switch = 'docker compose run --rm --no-TTY ops switch kill off --reason "go-live"'
    check = "docker compose run --rm --no-TTY ops doctor"
    back = ("docker compose down", f"{SETUP_BY_CONTAINER} --undo --yes")
    project_name = "hasura"

    def answers(self) -> dict[str, Any]:
        return super().answers() | {"way": Way.COMPOSE.value, "images": REPOSITORY, "roster": "roster.csv"}

    def prepare(self) -> None:
        """Put the compose file into the folder, with an override of networks and ports, and start podman.

        The customer has a project of the Hasura CLI and a roster.
        """
        (self.folder / "roster.csv").write_text("".join(f"{each},1\n" for each in STAFF))
        (self.folder / FILE.name).write_text(FILE.read_text())
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

    def have_jobs_ended(self) -> bool:
        state = "{{.State.Status}} {{.State.ExitCode}}"
        name = f"{self.project}-backfill-1"
        return run(*PODMAN, "container", "inspect", "--format", state, name).strip() == "exited 0"

    def limits(self, name: str) -> tuple[str, bool]:
        container = f"{self.project}-{name}-1"
        said, is_ok = limits_of(container)
        # podman runs no healthcheck by itself where there is no systemd.
        healthy = subprocess.run([*PODMAN, "healthcheck", "run", container], capture_output=True, check=False)
        return said, is_ok and healthy.returncode == 0


def limits_of(container: str) -> tuple[str, bool]:
    """Return user, memory and restarts of a container, and whether it is restricted."""
    (found,) = json.loads(run(*PODMAN, "container", "inspect", container))
    host, user = found["HostConfig"], found["Config"]["User"]
    said = f"user {user}, {host['Memory'] >> 20} MB, {found['RestartCount']} restarts"
    is_root = user.partition(":")[0] in ("", "0", "root")
    return said, bool(not is_root and host["Memory"] and host["ReadonlyRootfs"])


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


def wait_until(is_reached: Callable[[], object]) -> None:
    """Ask until it is true, or for MAX_WAIT_SECONDS; the result is judged later."""
    for _ in poll(MAX_WAIT_SECONDS, 0.1):
        if is_reached():
            return
