"""`scripts/test --genuine` with programs in the place of docker and pytest: nothing is started. Its files."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.genuine.__main__ import SUITES
from sandbox.genuine.containers import FILES, SERVICES, Containers
from sandbox.genuine.report import HEADING, replace_section
from sandbox.secrets import new_secrets
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
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
BROKEN = '<testcase classname="tests.x.test_b" name="test_four"><error/></testcase>'


@dataclass
class Clone:
    """A clone whose report may be changed, with the programs that the command finds."""

    path: Path

    def program(self, name: str, lines: str) -> None:
        program = self.path / "bin" / name
        program.write_text(f"#!/bin/sh\n{lines}")
        program.chmod(0o755)

    def start(self, cases: str = PASSED) -> subprocess.Popen[str]:
        environment = {
            "PATH": f"{self.path / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": str(self.path),
            "CLONE": str(self.path),
            "CASES": cases,
            "PYTHONDONTWRITEBYTECODE": "1",
            "HANDLER_SECRET": "of-the-shell",
            "TMPDIR": str(self.path / "tmp"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "sandbox.genuine"], cwd=self.path, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, cases: str = PASSED) -> tuple[int, str, str]:
        process = self.start(cases)
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
        return (self.path / "docs/engine-report.md").read_text()


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    for path in ROOT.iterdir():
        if path.name not in ("docs", ".git", ".venv"):
            (tmp_path / path.name).symlink_to(path)
    for name in ("bin", "docs", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "docs/engine-report.md").write_text((ROOT / "docs/engine-report.md").read_text())
    clone = Clone(tmp_path)
    clone.program("docker", DOCKER)
    clone.program("pytest", PYTEST)
    yield clone
    assert list((tmp_path / "tmp").iterdir()) == [], "secrets or results were left"


def test_both_suites_run_against_the_image_and_the_report_has_their_results(clone: Clone) -> None:
    """Everything is started before and removed after; no secret is an argument, and the shell has no say."""
    before = clone.report
    code, out, err = clone.run(PASSED + SKIPPED)
    assert (code, err) == (0, "")
    assert "- Engine: v2.50.99, the image of the `Dockerfile`\n" in clone.report
    assert "| contract suite | 1 | 0 | 1 |\n| end-to-end tests | 1 | 0 | 1 |\n" in clone.report
    assert "It has not been run yet" not in clone.report
    by_hand = "## An engine built from source"
    assert clone.report.partition(by_hand)[2] == before.partition(by_hand)[2] != ""
    assert "Written to docs/engine-report.md." in out
    contract, end_to_end = clone.lines("suites")
    assert contract.startswith("engine tests/contract --hasura=http://127.0.0.1:8087 ")
    assert "--hasura-webhook-host=host.docker.internal" in contract
    assert end_to_end.startswith(f"{clone.path.name} tests/end_to_end --hasura=http://127.0.0.1:8081 ")

    first, *others, last = clone.compose_calls
    assert first.startswith("up --build --detach --wait --wait-timeout 600 postgres hasura contract")
    assert others[0] == "run --rm --no-deps connect"
    assert last == "down --volumes --remove-orphans --timeout 10"

    secrets = dict(line.split("=", 1) for line in clone.lines("seen.env"))
    assert set(clone.lines("modes")) == {"600"}
    calls = "\n".join(clone.lines("calls") + clone.lines("suites"))
    assert [name for name, value in secrets.items() if value.strip("'") in calls] == []
    given = dict(line.split("=", 1) for line in clone.lines("environment") if "=" in line)
    assert f"'{given['HANDLER_SECRET']}'" == secrets["HANDLER_SECRET"]
    assert f"'{given['HASURA_ADMIN_SECRET']}'" == secrets["HASURA_GRAPHQL_ADMIN_SECRET"]
    assert given["WEBHOOK_URL"].endswith(given["WEBHOOK_TOKEN"])


def test_tests_that_fail_are_named(clone: Clone) -> None:
    code, _, _ = clone.run(PASSED + FAILED + BROKEN)
    assert code == 1
    assert "| contract suite | 1 | 2 | 0 |" in clone.report
    assert "```\ntests/x/test_b.py::test_three[1]\ntests/x/test_b.py::test_four\n```" in clone.report


def test_a_suite_without_results_or_in_which_all_is_skipped_is_no_success(clone: Clone) -> None:
    assert clone.run(SKIPPED)[0] == 1
    clone.program("pytest", "exit 4\n")
    assert clone.run()[0] == 1
    assert "did not come to its end: pytest ended with exit code 4 and wrote no results." in clone.report


def test_without_docker_it_says_what_to_install(clone: Clone) -> None:
    (clone.path / "bin/docker").unlink()
    if any((Path(folder) / "docker").exists() for folder in ("/usr/bin", "/bin")):
        pytest.skip("docker is in /usr/bin, which the command needs for other programs")
    code, out, err = clone.run()
    assert (code, out) == (2, "")
    assert err.startswith("docker is not installed. Install Docker Engine with the plugin Compose: https://")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("compose version", 2, "docker has no plugin Compose. Install docker-compose-plugin: https://"),
        ("info", 3, "The Docker daemon does not answer."),
    ],
)
def test_a_docker_that_cannot_be_used_is_named(clone: Clone, command: str, code: int, message: str) -> None:
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
    secrets = dict(line.split("=", 1) for line in clone.lines("seen.env"))
    assert "HASURA_GRAPHQL_ADMIN_SECRET='<HASURA_GRAPHQL_ADMIN_SECRET>'" in err
    assert secrets["HASURA_GRAPHQL_ADMIN_SECRET"].strip("'") not in err
    assert clone.compose_calls[-1].startswith("down ")
    assert clone.lines("suites") == []
    clone.program("docker", f'{DOCKER}case "$*" in *" up "*) rm "$0"; exit 1 ;; esac\n')
    assert clone.run()[0] != 0, "docker is gone at the end; the fixture looks for what was left"


@pytest.mark.parametrize(
    ("during", "number", "code"), [("up", signal.SIGINT, 130), ("suite", signal.SIGTERM, 143)]
)
def test_a_signal_stops_everything(clone: Clone, during: str, number: int, code: int) -> None:
    before = clone.report
    wait = "touch waiting; exec sleep 60\n"
    if during == "up":
        clone.program("docker", f'{DOCKER}case "$*" in *" up "*) {wait};; esac\n'.replace("60\n;;", "60 ;;"))
    else:
        clone.program("pytest", f'cd "$CLONE"; {wait}')
    process = clone.start()
    eventually((clone.path / "waiting").exists)
    os.kill(process.pid, number)
    process.communicate(timeout=30)
    assert (process.returncode, clone.report) == (code, before)
    assert clone.compose_calls[-1].startswith("down ")


BASE, ADDED = (yaml.safe_load((ROOT / name).read_text())["services"] for name in FILES)


def test_every_service_but_the_one_that_ends_is_waited_for() -> None:
    on_request = {name for name, service in BASE.items() if service.get("profiles")}
    assert set(SERVICES) | {"connect"} | on_request == BASE.keys() | ADDED.keys()


def test_the_contract_suite_has_the_pinned_image_without_our_metadata_and_knows_its_environment() -> None:
    """Else the tests of tokens and of the values from the environment are skipped."""
    contract = ADDED["contract"]
    assert contract["build"] == {"context": ".", "target": "engine"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^FROM hasura/graphql-engine:\S+ AS engine$", dockerfile, re.MULTILINE)
    database = contract["environment"]["HASURA_GRAPHQL_DATABASE_URL"].rpartition("/")[2]
    assert f"CREATE DATABASE {database};" in (ROOT / "sandbox/genuine/create_contract.sql").read_text()
    (mounted,) = ADDED["postgres"]["volumes"]
    assert (ROOT / mounted.split(":")[0]).is_file()
    assert contract["extra_hosts"] == ["host.docker.internal:host-gateway"]
    assert set(re.findall(r"\$\{(\w+)", (ROOT / FILES[1]).read_text())) <= new_secrets().keys()
    secrets = new_secrets()
    engine = {
        name: re.sub(r"\$\{(\w+):\?\}", lambda found: secrets[found[1]], value)
        for name, value in contract["environment"].items()
    }
    given = Containers(secrets).test_environment()
    read = (ROOT / "sandbox/engine/tests/contract/conftest.py").read_text()
    for name in ("HASURA_GRAPHQL_JWT_SECRET", "CONTRACT_SECRET"):
        assert engine[name] == given[name] != ""
        assert f'.get("{name}")' in read
    host = engine["CONTRACT_WEBHOOK"].removeprefix("http://")
    assert f"--hasura-webhook-host={host}" in SUITES["contract suite"]


def test_the_addresses_of_the_tests_are_published_on_loopback() -> None:
    services: list[tuple[str, dict[str, Any]]] = [*BASE.items(), *ADDED.items()]
    addresses = {
        port.rpartition(":")[0]: name for name, service in services for port in service.get("ports", [])
    }
    given = Containers(new_secrets()).test_environment()
    named = " ".join([*given.values(), *(word for words in SUITES.values() for word in words)])
    used = set(re.findall(r"\b127\.0\.0\.1:80\d\d\b", named))
    assert {addresses[address] for address in used} == {
        "postgres", "hasura", "contract", "pod", "notifications",
    }  # fmt: skip
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    needed = set(re.findall(r'values\["([A-Z_]+)"\]', (ROOT / "tests/support/end_to_end.py").read_text()))
    assert needed - {"HASURA_URL"} <= given.keys()


def test_the_page_has_one_place_for_the_results() -> None:
    page = (ROOT / "docs/engine-report.md").read_text()
    once = replace_section(page, "Results.\n")
    assert once.count(HEADING) == 1
    assert replace_section(once, "Results.\n") == once
    assert once.partition(HEADING)[2].startswith("\nResults.\n\n## An engine built from source\n")
    with pytest.raises(ValueError, match="has no heading"):
        replace_section("# Another page\n", "Results.\n")


def test_the_workflow_may_read_only_runs_the_same_command_and_pins_its_actions() -> None:
    text = (ROOT / ".github/workflows/genuine.yml").read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert "permissions" not in job
    assert job["timeout-minutes"] <= 60
    assert [step["run"] for step in job["steps"] if "run" in step] == ["scripts/test --genuine"]
    assert "secrets." not in text
    used = re.findall(r"uses: (.+)", text)
    pinned = re.compile(r"actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
    assert [line for line in used if not pinned.fullmatch(line)] == []


@pytest.mark.slow("it collects in another process")
def test_only_tests_that_meet_the_engine_are_counted() -> None:
    """Without `--hasura` all tests of the folder are collected."""
    where = [f"tests/end_to_end/test_{name}.py" for name in ("install", "edge", "leads")]
    options = ["--collect-only", "-q", "-n0", "-p", "no:cacheprovider", "--hasura", "http://127.0.0.1:1"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *where],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line} == {where[-1]}
