"""The developers' scripts explain themselves, and `scripts/test` starts one suite at a time."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from sandbox.edge.packages import NEEDED
from tests.support.suites import PATHS_WITH_SERVERS

ROOT = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("command", [".ci/run", "scripts/check", "scripts/test", "scripts/lock/update"])
def test_every_shell_script_has_a_help(command: str) -> None:
    done = run(f"./{command}", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {command}")


def test_ci_installs_the_packages_without_which_tests_of_the_edge_are_skipped() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    installed = set(text.partition("packages=(")[2].partition(")")[0].split())
    asked_for = {
        package
        for path in (ROOT / "tests" / "edge").glob("*.py")
        for package in re.findall(r'"[^"{\n]*: apt-get install ([a-z0-9-]+)', path.read_text())
    }
    assert asked_for >= {"systemd", "libseccomp2", "libfaketime", "strace"}
    assert asked_for | {package for _, package in NEEDED} <= installed


@pytest.mark.parametrize("other", ["--engine", "--genuine"])
def test_two_suites_at_once_are_rejected(other: str) -> None:
    done = run("scripts/test", "--fast", other)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"--fast and {other} exclude each other.\nusage: scripts/test")


def test_the_genuine_engine_takes_no_arguments() -> None:
    done = run("scripts/test", "--genuine", "-x")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "--genuine takes no arguments.\n")


def test_the_fast_suite_leaves_out_paths_that_exist() -> None:
    assert [path for path in PATHS_WITH_SERVERS if not (ROOT / path).exists()] == []
