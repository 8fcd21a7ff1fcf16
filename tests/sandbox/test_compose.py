"""compose.yaml and the Dockerfiles, checked without Docker: variables, settings, stages, versions.

And `scripts/test --genuine`, which starts them, with programs in the place of docker and pytest.
"""

import json
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from typer.testing import CliRunner

from leads.adapters.settings import Environment, read_settings
from leads.serve import SHUTDOWN_SECONDS
from ops.settings import VARIABLES
from sandbox.__main__ import app
from sandbox.processes import Processes
from sandbox.stack.hasura import LOG_TYPES, source_url
from tests.support.fake_services import FakeServer
from tests.support.programs import write_program
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
EDGE_DOCKERFILE = (ROOT / "deploy" / "nginx" / "Dockerfile").read_text()
VARIABLE = re.compile(r"\$\{(\w+)(:[?-])?([^}]*)\}")


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """The output of `scripts/sandbox secrets`, unquoted as Docker Compose does."""
    printed = CliRunner().invoke(app, ["secrets"]).stdout
    pairs = (line.partition("=") for line in printed.splitlines())
    return {name: value.strip("'") for name, _, value in pairs}


@pytest.fixture(scope="module")
def services(secrets: dict[str, str]) -> dict[str, Any]:
    """The services of compose.yaml with their variables replaced."""

    def filled(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        return secrets.get(name, rest if kind == ":-" else "")

    loaded = yaml.safe_load(COMPOSE)["services"]
    return dict(json.loads(VARIABLE.sub(lambda m: json.dumps(filled(m))[1:-1], json.dumps(loaded))))


def test_the_handlers_accept_their_environment(services: dict[str, Any]) -> None:
    settings = read_settings(services["handlers"]["environment"])
    assert settings.hasura_url == "http://hasura:8080"


def test_the_engine_logs_no_inputs_and_no_rows(services: dict[str, Any]) -> None:
    engine = {
        name.removeprefix("HASURA_GRAPHQL_"): value
        for name, value in services["hasura"]["environment"].items()
    }
    assert (engine["DEV_MODE"], engine["ADMIN_INTERNAL_ERRORS"]) == ("false", "false")
    assert set(engine["ENABLED_LOG_TYPES"].split(",")) == {"startup", "webhook-log", "jwk-refresh-log"}
    assert engine["ENABLED_LOG_TYPES"] == LOG_TYPES
    assert services["hasura"]["environment"]["PG_DATABASE_URL"] == source_url(engine["DATABASE_URL"])
    page = (ROOT / "docs" / "runbook" / "install.md").read_text()
    assert f"| `HASURA_GRAPHQL_ENABLED_LOG_TYPES` | `{engine['ENABLED_LOG_TYPES']}` |" in page
    for what in ("EVENT_TRIGGER", "SCHEDULED_TRIGGER", "ACTION_HANDLER"):
        assert engine[f"REDACT_{what}_LOGS"] == "true"


def test_the_engine_has_what_the_metadata_names(services: dict[str, Any], secrets: dict[str, str]) -> None:
    text = "".join(
        path.read_text()
        for directory in ("hasura/metadata", "sandbox/diva/metadata")
        for path in (ROOT / directory).rglob("*.yaml")
    )
    named = set(re.findall(r"\{\{(\w+)\}\}|(?:value_from_env|from_env): (\w+)", text))
    assert {one or other for one, other in named} <= services["hasura"]["environment"].keys()
    secret = json.loads(services["hasura"]["environment"]["HASURA_GRAPHQL_JWT_SECRET"])
    assert secret["type"] == "HS256"
    for name in ("HASURA_SERVICE_TOKEN", "HASURA_EDGE_TOKEN"):
        ends = jwt.decode(secrets[name], secret["key"], algorithms=["HS256"])["exp"]
        assert 89 < (ends - time.time()) / 86_400 <= 90


def test_the_example_explains_every_variable_of_the_handlers() -> None:
    explained = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert len(explained) == len(set(explained))
    code = (ROOT / "leads/adapters/settings.py").read_text() + (ROOT / "app.py").read_text()
    methods = "number|text|address|url|key_ring|caller_secret"
    read = set(re.findall(rf"(?:{methods})\(\"([A-Z_]+)\"|\$\{{([A-Z_]+):-", code))
    previous = {f"{name}_SECRET_PREVIOUS{until}" for name in ("HANDLER", "EDGE") for until in ("", "_UNTIL")}
    assert ({one or other for one, other in read} - {"ROOT"}) | previous | VARIABLES.keys() <= set(explained)


def stage(name: str) -> str:
    """The instructions of one stage, without its FROM."""
    return re.split(rf"^FROM \S+ AS {name}$", DOCKERFILE, flags=re.MULTILINE)[1].partition("\nFROM ")[0]


def test_the_image_of_the_handlers_holds_production_code_only_and_serves() -> None:
    """It copies nothing but the locked packages and the server, and is the last stage."""
    instructions = stage("handlers")
    assert re.findall(r"^(?:COPY|ADD) .*", instructions, re.MULTILINE) == [
        "COPY --from=dependencies /venv /venv", "COPY --from=server /project /",
    ]  # fmt: skip
    assert re.search(r"rm /project/venv/bin/leads .*for name in .* hasura ops;", stage("server"), re.DOTALL)
    assert DOCKERFILE.endswith(instructions)
    for text in (
        r"^USER \d+:\d+$", "HEALTHCHECK", r'^CMD \["pancake-handlers"\]$', "BIND=0.0.0.0:8080",
        "OPS_BIND=0.0.0.0:9146", "^EXPOSE 8080 9146$", "http://127.0.0.1:8080/healthz",
    ):  # fmt: skip
        assert re.search(text, instructions, re.MULTILINE), text
    assert Environment({}, environment={"BIND": "0.0.0.0:8080"}).address("BIND") == ("0.0.0.0", 8080)


def test_the_image_has_the_wheel_that_the_project_declares() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    lines = re.findall(r"^COPY (.+) \S+$", stage("project"), re.MULTILINE)
    copied = {word for line in lines for word in line.split()}
    project = {"pyproject.toml", "LICENSE"}
    assert copied - project == set(declared["wheel"]["only-include"])
    assert project <= copied


def test_images_carry_the_version_that_they_report(services: dict[str, Any]) -> None:
    """So that an earlier version can be deployed again."""
    release = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert release is not None
    for name in ("handlers", "edge"):
        assert services[name]["image"] == f"pancake-diva/{name}:{release[1]}"
    assert services["handlers"]["build"]["args"]["VERSION"] == release[1]
    assert f'return "{release[1]}"' in (ROOT / "deploy/nginx/lua/pancake/version.lua").read_text()


def test_edge_and_handlers_can_be_replaced_independently(services: dict[str, Any]) -> None:
    """Neither owns the shared network, and the edge starts without any other service."""
    assert {services[name]["network_mode"] for name in ("edge", "handlers")} == {"service:pod"}
    assert set(services["pod"]["networks"]["default"]["aliases"]) == {"edge", "handlers"}
    assert "depends_on" not in services["edge"]


def test_the_edge_gets_no_access_to_the_database(services: dict[str, Any], secrets: dict[str, str]) -> None:
    given = services["edge"]["environment"]
    assert [name for name in given if "DATABASE" in name or "POSTGRES" in name] == []
    passwords = {value for name, value in secrets.items() if name.endswith("_PASSWORD")}
    assert len(passwords) == 3
    assert passwords.isdisjoint(given.values())
    assert not [value for value in given.values() if "postgresql://" in value]


def test_ports_are_published_on_loopback_and_none_of_an_ops_endpoint(services: dict[str, Any]) -> None:
    published = {port for service in services.values() for port in service.get("ports", [])}
    assert {port.rpartition(":")[0].rpartition(":")[0] for port in published} == {"127.0.0.1"}
    of_pod = {port.rpartition(":")[2] for port in services["pod"]["ports"]}
    assert of_pod == {"8443"}, "neither 8080, where /metrics and /readyz of the handlers are, nor 9145"


def test_every_service_has_its_limits_and_time_to_stop(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert (service["init"], service["read_only"]) == (True, True), name
        assert "/tmp" in service["tmpfs"][0], name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    seconds = {
        name: int(service["stop_grace_period"].removesuffix("s")) for name, service in services.items()
    }
    assert seconds["handlers"] > SHUTDOWN_SECONDS, "until open requests have ended"
    # The engine was seen to take 2.6 times its own time-out with handlers that hang.
    own = int(services["hasura"]["environment"]["HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT"])
    assert seconds["hasura"] > 2.6 * own


def test_copied_files_are_in_the_build_context(subtests: pytest.Subtests) -> None:
    """`docker build` fails for a source without files."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for text in (DOCKERFILE, EDGE_DOCKERFILE):
        with subtests.test(text=text):
            copied = re.findall(r"^COPY (?!--from=)(.+) \S+$", text.replace("\\\n", " "), re.MULTILINE)
            sources = [word for words in copied for word in words.split() if not word.startswith("--")]
            assert sources
            for source in sources:
                assert list(ROOT.glob(source)), source
                assert any(f"{source}/".startswith(f"{folder}/") for folder in sent), source
    assert sent.isdisjoint({"tests", ".git", ".env"})


DOCKER = """
echo "$*" >>calls
case "$*" in
    *" --env-file "*)
        file="${*#* --env-file }"; file="${file%% *}"
        stat -c %a "$file" >>modes; cp "$file" seen.env ;;
esac
case "$*" in
    *9146/readyz) echo '{"database":true,"hasura":true}' ;;
    *9145/healthz) echo '{"policy_connections":1}' ;;
    *v1/version) echo '{"server_type":"ce","version":"v2.50.99"}' ;;
esac
"""
PYTEST = """
echo "${PWD##*/} $*" >>"$CLONE/suites"
env >"$CLONE/environment"
for argument in "$@"; do case "$argument" in --junitxml=*) file="${argument#*=}" ;; esac; done
echo "<testsuites><testsuite>$CASES</testsuite></testsuites>" >"$file"
"""
PASSED = '<testcase classname="tests.x.test_a" name="test_one"/>'
SKIPPED = '<testcase classname="tests.x.test_a" name="test_two"><skipped/></testcase>'
FAILED = '<testcase classname="tests.x.test_b" name="test_three[1]"><failure/></testcase>'


@dataclass
class Clone:
    """A clone whose report may be changed, with the programs that the command finds."""

    path: Path
    processes: Processes
    jwt_secret: str = '{"type": "HS256", "key": "the key of the engine"}'

    def program(self, name: str, lines: str) -> None:
        write_program(self.path / "bin" / name, lines)

    def start(self, cases: str = PASSED, *arguments: str) -> subprocess.Popen[str]:
        environment = {
            "PATH": f"{self.path / 'bin'}:/usr/bin:/bin", "PYTHONPATH": str(self.path),
            "CLONE": str(self.path), "CASES": cases, "PYTHONDONTWRITEBYTECODE": "1",
            "HANDLER_SECRET": "of-the-shell", "GENUINE_IN_DOCKER": "of-the-shell",
            "TMPDIR": str(self.path / "tmp"), "HASURA_GRAPHQL_JWT_SECRET": self.jwt_secret,
        }  # fmt: skip
        return self.processes.start(
            [sys.executable, "-m", "proofs.genuine", *arguments], cwd=self.path, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, cases: str = PASSED, *arguments: str) -> tuple[int, str, str]:
        process = self.start(cases, *arguments)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def lines(self, name: str) -> list[str]:
        path = self.path / name
        return path.read_text().splitlines() if path.exists() else []

    @property
    def compose_calls(self) -> list[str]:
        """The commands of docker compose without its options: `up …`, `down …`."""
        return [line.rpartition("compose.yaml ")[2] for line in self.lines("calls") if "--file" in line]

    @property
    def report(self) -> str:
        return (self.path / "docs/proofs.md").read_text()


@pytest.fixture
def clone(tmp_path: Path, processes: Processes) -> Iterator[Clone]:
    for path in ROOT.iterdir():
        if path.name not in ("docs", ".git", ".venv"):
            (tmp_path / path.name).symlink_to(path)
    for name in ("bin", "docs", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "docs/proofs.md").write_text((ROOT / "docs/proofs.md").read_text())
    clone = Clone(tmp_path, processes)
    clone.program("docker", DOCKER)
    clone.program("pytest", PYTEST)
    yield clone
    assert list((tmp_path / "tmp").iterdir()) == [], "secrets or results were left"


def test_both_suites_run_against_the_image_and_the_report_has_their_results(clone: Clone) -> None:
    """Everything is started before and removed after; no secret is an argument, and the shell has no say."""
    before, by_hand = clone.report, "### An engine built from source"
    modules = sorted(path.name for path in (ROOT / "tests/end_to_end").glob("test_*.py"))
    code, _, err = clone.run(PASSED + SKIPPED)
    assert (code, err) == (0, "")
    counts = f"| contract suite | 1 | 0 | 1 |\n| end-to-end tests | {len(modules)} | 0 | {len(modules)} |\n"
    assert counts in clone.report
    assert clone.report.partition(by_hand)[2] == before.partition(by_hand)[2] != ""
    suites = ["tests/contract", *(f"tests/end_to_end/{name}" for name in modules)]
    assert [line.split()[1] for line in clone.lines("suites")] == suites
    assert sum(call.startswith("down ") for call in clone.compose_calls) == len(suites), "a system for each"
    first, connect, *_, last = clone.compose_calls
    assert first.startswith("up --build --detach --wait ")
    assert connect == "run --rm --no-deps connect"
    assert last == "down --volumes --remove-orphans --timeout 10"

    secrets = dict(line.split("=", 1) for line in clone.lines("seen.env"))
    assert set(clone.lines("modes")) == {"600"}
    calls = "\n".join(clone.lines("calls") + clone.lines("suites"))
    assert [name for name, value in secrets.items() if value.strip("'") in calls] == []
    given = dict(line.split("=", 1) for line in clone.lines("environment") if "=" in line)
    assert f"'{given['HANDLER_SECRET']}'" == secrets["HANDLER_SECRET"]


def test_an_engine_that_runs_already_needs_no_docker(clone: Clone) -> None:
    """Each module has a call of its own, around which a system is started: not one that the shell names."""
    before = clone.report
    modules = sorted(path.name for path in (ROOT / "tests/end_to_end").glob("test_*.py"))
    with FakeServer() as engine:
        engine.expect_request("/v1/version").respond_with_json({"version": "v2.48.10"})
        empty = {"resource_version": 1, "metadata": {"version": 3, "sources": []}}
        engine.expect_request("/v1/metadata").respond_with_json(empty)
        arguments = (f"--hasura={engine.url}", "--hasura-admin-secret=s")
        code, out, err = clone.run(PASSED, *arguments)
        assert (code, err, clone.report, clone.lines("calls")) == (0, "", before, [])
        assert f"- Engine: v2.48.10, at {engine.url}\n" in out
        assert f"| contract suite | 1 | 0 | 0 |\n| end-to-end tests | {len(modules)} | 0 | 0 |\n" in out
        assert [line.split()[1:3] for line in clone.lines("suites")] == [
            [path, f"--hasura={engine.url}"]
            for path in ("tests/contract", *(f"tests/end_to_end/{name}" for name in modules))
        ]
        assert "HASURA_ADMIN_SECRET=s" in clone.lines("environment")
        assert [line for line in clone.lines("environment") if line.startswith("GENUINE_IN_DOCKER=")] == []
        assert clone.run(FAILED, *arguments)[0] == 1


def test_an_engine_that_cannot_be_used_is_refused_before_anything_runs(clone: Clone) -> None:
    with FakeServer() as engine:
        of_diva = {"resource_version": 1, "metadata": {"sources": [{"name": "default", "tables": [{}]}]}}
        engine.expect_request("/v1/metadata").respond_with_json(of_diva)
        code, _, err = clone.run(PASSED, f"--hasura={engine.url}")
        assert (code, "which the tests would replace: the source default." in err) == (2, True)
        clone.jwt_secret = ""
        code, _, err = clone.run(PASSED, f"--hasura={engine.url}")
        assert (code, err.startswith("HASURA_GRAPHQL_JWT_SECRET is missing")) == (2, True)
    clone.jwt_secret = Clone.jwt_secret
    assert "on this machine" in clone.run(PASSED, "--hasura=https://hasura.example")[2]
    assert clone.run(PASSED, "--hasura=http://127.0.0.1:9")[0] == 3
    assert clone.lines("suites") == []


def test_a_suite_that_failed_was_skipped_or_has_no_results_is_no_success(clone: Clone) -> None:
    assert clone.run(PASSED + FAILED)[0] == 1
    assert "```\ntests/x/test_b.py::test_three[1]\n```" in clone.report
    assert clone.run(SKIPPED)[0] == 1
    clone.program("pytest", "exit 4\n")
    assert clone.run()[0] == 1
    assert "did not come to its end: pytest ended with exit code 4 and wrote no results." in clone.report


def test_a_docker_that_cannot_be_used_is_named(clone: Clone, subtests: pytest.Subtests) -> None:
    for command, code, message in (
        ("compose version", 2, "docker has no plugin Compose."),
        ("info", 3, "The Docker daemon does not answer."),
    ):
        with subtests.test(command=command, code=code):
            clone.program("docker", f'[ "$*" != "{command}" ]\n')
            ended, _, err = clone.run()
            assert (ended, clone.compose_calls) == (code, [])
            assert err.startswith(message)


def test_a_service_that_does_not_start_is_shown_without_secrets(clone: Clone) -> None:
    before = clone.report
    fails = 'case "$*" in *" up "*) exit 1 ;; *" logs "*) grep ADMIN_SECRET seen.env ;; esac\n'
    clone.program("docker", DOCKER + fails)
    code, _, err = clone.run()
    assert (code, clone.report) == (3, before)
    assert "HASURA_GRAPHQL_ADMIN_SECRET='<HASURA_GRAPHQL_ADMIN_SECRET>'" in err
    (secret,) = [line for line in clone.lines("seen.env") if line.startswith("HASURA_GRAPHQL_ADMIN_SECRET=")]
    assert secret.partition("=")[2].strip("'") not in err
    assert clone.compose_calls[-1].startswith("down ")
    assert clone.lines("suites") == []
    clone.program("docker", f'{DOCKER}case "$*" in *" up "*) rm "$0"; exit 1 ;; esac\n')
    assert clone.run()[0] != 0, "docker is gone at the end; the fixture looks for what was left"


WAITS = "touch waiting; exec sleep 60"


@pytest.mark.parametrize(
    ("program", "lines", "number", "code"),
    [
        ("docker", f'{DOCKER}case "$*" in *" up "*) {WAITS} ;; esac\n', signal.SIGINT, 130),
        ("pytest", f'cd "$CLONE"; {WAITS}\n', signal.SIGTERM, 143),
    ],
    ids=["docker", "pytest"],
)
def test_a_signal_stops_everything(clone: Clone, program: str, lines: str, number: int, code: int) -> None:
    before = clone.report
    clone.program(program, lines)
    process = clone.start()
    eventually((clone.path / "waiting").exists)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert (process.returncode, clone.report) == (code, before)
    assert clone.compose_calls[-1].startswith("down ")


def test_the_workflow_may_only_read() -> None:
    text = (ROOT / ".github/workflows/genuine.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert [job for job in workflow["jobs"].values() if "permissions" in job] == []
    assert "secrets." not in text
