"""`scripts/test --genuine`: the tests that need an engine, against the pinned image, in Docker.

Each module of the end-to-end tests gets a new system: they change settings, rosters and metadata. With
`--hasura URL --hasura-admin-secret SECRET` they run against that engine, without Docker: a sandbox is started
around it for each module. It must have no metadata, and HASURA_GRAPHQL_JWT_SECRET its value.

Exit codes: 0 all passed, 1 a test failed, 2 Docker is missing or the engine cannot be used, 3 Docker, a
service or the engine does not answer, 130 stopped.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from leads.domain.errors import HasuraUnavailable, IntegrationError
from ops.failures import CommandFailed, ExitCode
from ops.waiting import poll
from sandbox.processes import exit_on_sigterm
from sandbox.stack.given import GivenEngine
from sandbox.stack.keys import new_secrets

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


class NotStarted(Exception):
    """The error of a part that is missing, silent or not ready in time, with the exit code."""

    def __init__(self, message: str, code: ExitCode = ExitCode.UNREACHABLE) -> None:
        super().__init__(message)
        self.code = code


def require_docker() -> None:
    """Check that Docker Compose can be used. Raises NotStarted."""
    if shutil.which("docker") is None:
        raise NotStarted(
            "docker is not installed. Install Docker Engine with the plugin Compose: "
            "https://docs.docker.com/engine/install/", ExitCode.USAGE,
        )  # fmt: skip
    if not _succeeds("docker", "compose", "version"):
        raise NotStarted(
            "docker has no plugin Compose. Install docker-compose-plugin: "
            "https://docs.docker.com/compose/install/linux/", ExitCode.USAGE,
        )  # fmt: skip
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

    def __exit__(self, *error: object) -> None:
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
            "GENUINE_IN_DOCKER": "1",
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
        command = self._command(*arguments)
        return subprocess.run(command, cwd=ROOT, env=self._environment, check=False).returncode == 0

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


HEADING = "### The pinned image\n"


@dataclass
class SuiteResult:
    """The tests of one suite. `problem`: it did not come to its end, and the numbers say nothing."""

    name: str
    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    problem: str = ""

    def add(self, module: "SuiteResult") -> None:
        """Count a module, of which all tests may be left out or skipped."""
        self.passed += module.passed
        self.skipped += module.skipped
        self.failed += module.failed
        self.problem = self.problem or module.problem

    @property
    def is_ok(self) -> bool:
        return not self.failed and not self.problem and self.passed > 0


def read_results(name: str, path: Path, exit_code: int) -> SuiteResult:
    """Read the JUnit file that pytest wrote. Exit code 5: all tests of a module start a system themselves."""
    try:
        tests = list(ElementTree.parse(path).iter("testcase"))  # noqa: S314 - pytest of this clone wrote it
    except (OSError, ElementTree.ParseError):
        return SuiteResult(name, problem=f"pytest ended with exit code {exit_code} and wrote no results")
    result = SuiteResult(name)
    if exit_code not in (0, 1, 5):
        result.problem = f"pytest ended with exit code {exit_code}"
    for test in tests:
        kinds = {part.tag for part in test}
        if kinds & {"failure", "error"}:
            file = test.get("classname", "").replace(".", "/")
            result.failed.append(f"{file}.py::{test.get('name', '')}")
        elif "skipped" in kinds:
            result.skipped += 1
        else:
            result.passed += 1
    return result


def render(version: str, results: Sequence[SuiteResult], now: datetime) -> str:
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    lines = [
        f"Run by `scripts/test --genuine` on {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC.",
        "",
        f"- Engine: {version}",
        f"- Machine: {machine}",
        "",
        "| suite | passed | failed | skipped |",
        "|---|---|---|---|",
        *(f"| {one.name} | {one.passed} | {len(one.failed)} | {one.skipped} |" for one in results),
    ]
    for one in results:
        if one.problem:
            lines += ["", f"**{one.name}** did not come to its end: {one.problem}."]
        if one.failed:
            lines += ["", f"Failed, {one.name}:", "", "```", *one.failed, "```"]
    return "\n".join(lines) + "\n"


def replace_section(page: str, text: str) -> str:
    """Put the text in the place of what stands below HEADING, up to the next heading."""
    before, heading, rest = page.partition(HEADING)
    if not heading:
        raise ValueError(f"The page has no heading {HEADING.strip()!r}.")
    _, found, after = rest.partition("\n##")
    return f"{before}{heading}\n{text}" + (f"{found}{after}" if found else "")


REPORT = Path("docs/proofs.md")
CONTRACT_SUITE, END_TO_END = "contract suite", "end-to-end tests"
ENGINE, CONTRACT_ENGINE = "http://127.0.0.1:8081", "http://127.0.0.1:8087"
MODULES = sorted((ROOT / "tests/end_to_end").glob("test_*.py"))


def main(arguments: Sequence[str] = ()) -> ExitCode:
    """Start everything, run both suites, write the report, and stop everything, also after Ctrl-C."""
    exit_on_sigterm()
    parser = argparse.ArgumentParser(prog="scripts/test --genuine", add_help=False)
    parser.add_argument("--hasura")
    parser.add_argument("--hasura-admin-secret", default=os.environ.get("HASURA_ADMIN_SECRET", ""))
    given = parser.parse_args(arguments)
    try:
        if given.hasura:
            return _run_on(given.hasura.rstrip("/"), given.hasura_admin_secret)
        require_docker()
        version, results = _run_in_containers()
    except NotStarted as error:
        print(error, file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("Stopped. The report is unchanged.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    text = render(f"{version}, the image of the `Dockerfile`", results, datetime.now(UTC))
    page = ROOT / REPORT
    page.write_text(replace_section(page.read_text(), text))
    print(f"{text}\nWritten to {REPORT}.")
    return ExitCode.OK if all(result.is_ok for result in results) else ExitCode.FAILED


def _run_in_containers() -> tuple[str, list[SuiteResult]]:
    """Run the contract suite, then each module of the end-to-end tests, on new containers each."""
    with Containers(new_secrets()) as containers:
        containers.start()
        version, environment = containers.engine_version(), containers.test_environment()
        host = "--hasura-webhook-host=host.docker.internal"
        contract = _run_contract_suite(environment, CONTRACT_ENGINE, host)
    whole = SuiteResult(END_TO_END)
    for path in MODULES:
        with Containers(new_secrets()) as containers:
            containers.start()
            whole.add(_run_module(containers.test_environment(), ENGINE, path))
    return version, [contract, whole]


def _run_on(url: str, secret: str) -> ExitCode:
    """Run both suites on an engine that runs already; print the results, and leave the report."""
    try:
        given = GivenEngine.check(url, secret, os.environ.get("HASURA_GRAPHQL_JWT_SECRET", ""))
        with given.open() as engine:
            version = engine.version()
    except (CommandFailed, IntegrationError) as error:
        print(error, file=sys.stderr)
        return ExitCode.UNREACHABLE if isinstance(error, HasuraUnavailable) else ExitCode.USAGE
    environment = {name: value for name, value in os.environ.items() if name != "GENUINE_IN_DOCKER"}
    environment["HASURA_ADMIN_SECRET"] = secret
    contract = _run_contract_suite(environment, url)
    whole = SuiteResult(END_TO_END)
    for path in MODULES:
        whole.add(_run_module(environment, url, path))
    print(render(f"{version}, at {url}", [contract, whole], datetime.now(UTC)))
    return ExitCode.OK if contract.is_ok and whole.is_ok else ExitCode.FAILED


def _run_module(environment: Mapping[str, str], url: str, path: Path) -> SuiteResult:
    return _pytest(END_TO_END, ".", environment, str(path.relative_to(ROOT)), f"--hasura={url}")


def _run_contract_suite(environment: Mapping[str, str], url: str, *more: str) -> SuiteResult:
    return _pytest(CONTRACT_SUITE, "sandbox/engine", environment, "tests/contract", f"--hasura={url}", *more)


def _pytest(name: str, where: str, environment: Mapping[str, str], *arguments: str) -> SuiteResult:
    """Run tests; they take the secret from the environment."""
    with tempfile.TemporaryDirectory(prefix="genuine-") as folder:
        path = Path(folder) / "results.xml"
        command = ["pytest", *arguments, f"--junitxml={path}"]
        # In a session of its own: else a second Ctrl-C would end its cleaning up.
        with subprocess.Popen(command, cwd=ROOT / where, env=environment, start_new_session=True) as process:
            try:
                code = process.wait()
            except (KeyboardInterrupt, SystemExit):
                process.send_signal(signal.SIGINT)
                process.wait()  # a given engine gets its former metadata back
                raise
        return read_results(name, path, code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
