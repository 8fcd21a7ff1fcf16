"""The files of `scripts/test --genuine`: what compose.yaml gets, the workflow, the tests that run."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.genuine.__main__ import SUITES
from sandbox.genuine.containers import FILES, SERVICES, Containers
from sandbox.genuine.report import HEADING, replace_section
from sandbox.secrets import new_secrets

ROOT = Path(__file__).parents[2]
BASE, ADDED = (yaml.safe_load((ROOT / name).read_text())["services"] for name in FILES)
WORKFLOW = (ROOT / ".github/workflows/genuine.yml").read_text()


def published(*services: dict[str, Any]) -> dict[str, str]:
    """The published addresses, with the name of the service."""
    return {
        port.rpartition(":")[0]: name
        for group in services
        for name, service in group.items()
        for port in service.get("ports", [])
    }


def test_every_service_but_the_one_that_ends_is_waited_for() -> None:
    on_request = {name for name, service in BASE.items() if service.get("profiles")}
    assert set(SERVICES) | {"connect"} | on_request == BASE.keys() | ADDED.keys()


def test_the_contract_suite_has_the_pinned_image_without_our_metadata() -> None:
    contract = ADDED["contract"]
    assert contract["build"] == {"context": ".", "target": "engine"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^FROM hasura/graphql-engine:\S+ AS engine$", dockerfile, re.MULTILINE)
    database = contract["environment"]["HASURA_GRAPHQL_DATABASE_URL"].rpartition("/")[2]
    assert f"CREATE DATABASE {database};" in (ROOT / "sandbox/genuine/create_contract.sql").read_text()
    (mounted,) = ADDED["postgres"]["volumes"]
    assert (ROOT / mounted.split(":")[0]).is_file()
    assert contract["extra_hosts"] == ["host.docker.internal:host-gateway"]
    assert "--hasura-webhook-host=host.docker.internal" in SUITES["contract suite"]


def test_the_contract_suite_knows_the_environment_of_its_engine() -> None:
    """Else the tests of tokens and of the values from the environment are skipped."""
    secrets = new_secrets()
    engine = {
        name: re.sub(r"\$\{(\w+):\?\}", lambda found: secrets[found[1]], value)
        for name, value in ADDED["contract"]["environment"].items()
    }
    given = Containers(secrets).test_environment()
    read = (ROOT / "sandbox/engine/tests/contract/conftest.py").read_text()
    for name in ("HASURA_GRAPHQL_JWT_SECRET", "CONTRACT_SECRET"):
        assert engine[name] == given[name] != ""
        assert f'.get("{name}")' in read
    host = engine["CONTRACT_WEBHOOK"].removeprefix("http://")
    assert f"--hasura-webhook-host={host}" in SUITES["contract suite"]


def test_the_addresses_of_the_tests_are_published_on_loopback() -> None:
    addresses = published(BASE, ADDED)
    given = Containers(new_secrets()).test_environment()
    named = " ".join([*given.values(), *(word for words in SUITES.values() for word in words)])
    used = set(re.findall(r"\b127\.0\.0\.1:80\d\d\b", named))
    assert {addresses[address] for address in used} == {
        "postgres", "hasura", "contract", "pod", "notifications",
    }  # fmt: skip
    assert all(address.startswith("127.0.0.1:") for address in addresses)
    needed = set(re.findall(r'values\["([A-Z_]+)"\]', (ROOT / "tests/support/end_to_end.py").read_text()))
    assert needed - {"HASURA_URL"} <= given.keys()


def test_the_variables_of_the_added_file_are_those_of_compose() -> None:
    text = (ROOT / FILES[1]).read_text()
    assert set(re.findall(r"\$\{(\w+)", text)) <= new_secrets().keys()


def test_the_page_has_one_place_for_the_results() -> None:
    page = (ROOT / "docs/engine-report.md").read_text()
    once = replace_section(page, "Results.\n")
    assert once.count(HEADING) == 1
    assert replace_section(once, "Results.\n") == once
    assert once.partition(HEADING)[2].startswith("\nResults.\n\n## An engine built from source\n")


def test_a_page_without_the_heading_is_refused() -> None:
    with pytest.raises(ValueError, match="has no heading"):
        replace_section("# Another page\n", "Results.\n")


def test_the_workflow_may_read_only_and_runs_the_same_command() -> None:
    workflow = yaml.safe_load(WORKFLOW)
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert "permissions" not in job
    assert job["timeout-minutes"] <= 60
    assert [step["run"] for step in job["steps"] if "run" in step] == ["scripts/test --genuine"]
    assert "secrets." not in WORKFLOW


def test_every_action_is_pinned_by_commit_and_names_its_version() -> None:
    used = re.findall(r"uses: (.+)", WORKFLOW)
    assert len(used) == 2
    assert [
        line for line in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line)
    ] == []


def test_only_tests_that_meet_the_engine_are_counted() -> None:
    """Without `--hasura` all tests of the folder are collected."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-p", "no:cacheprovider"]
    where = ["tests/end_to_end/test_install.py", "tests/end_to_end/test_samples.py"]

    def collected(*options: str) -> set[str]:
        done = subprocess.run(
            [*command, *options, *where], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
        )
        return {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}

    assert collected() == set(where)
    assert collected("--hasura", "http://127.0.0.1:1") == {where[1]}
