"""The containers of compose.yaml and of proofs/genuine/compose.yaml, through the program `docker`."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.waiting import poll

ROOT = Path(__file__).parents[2]
PROJECT = "pancake-genuine"
FILES = ("compose.yaml", "proofs/genuine/compose.yaml")
SERVICES = ("postgres", "hasura", "contract", "notifications", "pancake", "pod", "handlers", "edge")
"""All but `connect`, which ends when it has done its work: `docker compose up --wait` would wait for it."""
START_SECONDS = 600
READY_SECONDS = 90.0
PROBES = (
    ("the handlers", "127.0.0.1:9146/readyz", '"hasura":true'),
    ("the edge", "127.0.0.1:9145/healthz", '"policy_connections":1'),
)
"""Asked within the network that edge and handlers share, with what the answer holds when they are ready."""


class DockerMissing(Exception):
    """Docker or its plugin Compose is not installed; the message says what to install."""


class NotStarted(Exception):
    """Docker does not answer, or a service did not start or become ready; the message says which."""


def require_docker() -> None:
    """Check that Docker Compose can be used. Raises DockerMissing or NotStarted."""
    if shutil.which("docker") is None:
        raise DockerMissing(
            "docker is not installed. Install Docker Engine with the plugin Compose: "
            "https://docs.docker.com/engine/install/"
        )
    if not _succeeds("docker", "compose", "version"):
        raise DockerMissing(
            "docker has no plugin Compose. Install docker-compose-plugin: "
            "https://docs.docker.com/compose/install/linux/"
        )
    if not _succeeds("docker", "info"):
        raise NotStarted(
            "The Docker daemon does not answer. Start it, and check that this user may use it: docker info"
        )


class Containers:
    """The containers, from the start of the block to its end; their volumes are removed with them.

    `secrets` are the variables of compose.yaml. They are in a file of mode 0600 meanwhile.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets
        # A variable of the shell would take precedence over the file.
        self._environment = {name: value for name, value in os.environ.items() if name not in secrets}
        self._env_file = Path()

    def __enter__(self) -> Self:
        descriptor, name = tempfile.mkstemp(prefix="genuine-", suffix=".env")
        self._env_file = Path(name)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{name}='{value}'\n" for name, value in self._secrets.items())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop and remove everything; another Ctrl-C does not interrupt it."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        try:
            subprocess.run(
                self._command("down", "--volumes", "--remove-orphans", "--timeout", "10"),
                cwd=ROOT, env=self._environment, check=False, start_new_session=True,
            )  # fmt: skip
        finally:
            self._env_file.unlink(missing_ok=True)

    def start(self) -> None:
        """Build and start the services, and connect them to Pancake's simulator. Raises NotStarted."""
        wait = ("--wait", "--wait-timeout", str(START_SECONDS))
        if not self._run("up", "--build", "--detach", *wait, *SERVICES):
            raise NotStarted(f"A service did not start.\n{self._engine_log()}")
        if not self._run("run", "--rm", "--no-deps", "connect"):
            raise NotStarted("The connection to Pancake's simulator could not be stored.")
        for what, address, expected in PROBES:
            answer = ""
            for _ in poll(READY_SECONDS, 1):
                answer = self._output("exec", "-T", "edge", "curl", "-s", address)
                if expected in answer:
                    break
            else:
                raise NotStarted(f"{what} did not become ready: {answer or 'no answer'}")

    def engine_version(self) -> str:
        """Return the version that the engine names, with its `v`. Raises NotStarted."""
        answer = self._output("exec", "-T", "hasura", "curl", "-s", "http://127.0.0.1:8080/v1/version")
        try:
            return str(json.loads(answer)["version"])
        except (ValueError, KeyError) as error:
            raise NotStarted("The engine does not say which version it is.") from error

    def test_environment(self) -> dict[str, str]:
        """Return the variables with which the tests reach the containers."""
        secrets = self._secrets
        return {
            **self._environment,
            "DATABASE_URL": f"postgresql://postgres:{secrets['POSTGRES_PASSWORD']}@127.0.0.1:8086/diva",
            "HASURA_ADMIN_SECRET": secrets["HASURA_GRAPHQL_ADMIN_SECRET"],
            "WEBHOOK_URL": f"http://127.0.0.1:8083/api/pancake/record/{secrets['WEBHOOK_TOKEN']}",
            "WEBHOOK_TOKEN": secrets["WEBHOOK_TOKEN"],
            "NOTIFICATIONS_URL": "http://127.0.0.1:8082",
            "HANDLERS_URL": "http://127.0.0.1:8085",
            "HANDLER_SECRET": secrets["HANDLER_SECRET"],
            # Of the engine of the contract suite: the key of its tokens, and a header that a trigger sends.
            "HASURA_GRAPHQL_JWT_SECRET": secrets["HASURA_GRAPHQL_JWT_SECRET"],
            "CONTRACT_SECRET": secrets["HANDLER_SECRET"],
        }

    def _command(self, *arguments: str) -> list[str]:
        files = [part for name in FILES for part in ("--file", name)]
        options = ["--project-name", PROJECT, "--env-file", str(self._env_file), *files]
        return ["docker", "compose", *options, *arguments]

    def _run(self, *arguments: str) -> bool:
        done = subprocess.run(self._command(*arguments), cwd=ROOT, env=self._environment, check=False)
        return done.returncode == 0

    def _output(self, *arguments: str) -> str:
        done = subprocess.run(
            self._command(*arguments), cwd=ROOT, env=self._environment, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    def _engine_log(self) -> str:
        """Return the end of the engines' logs, without the secrets."""
        text = self._output("logs", "--no-color", "--tail", "30", "hasura", "contract")
        for name, value in self._secrets.items():
            text = text.replace(value, f"<{name}>")
        return text


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
