"""The scenario four_layers: it passes, and fails without any one of its guards."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from sandbox.stack.services import ROOT

PRODUCTION = "postgresql://nobody@127.0.0.1:9/production"
GUARDS = {"settle": "unexpected", "identity": "duplicated", "cron_runs": "duplicated"}


def run_scenario(*options: str) -> tuple[int, dict[str, Any]]:
    """Run a small scenario; return exit code and result. It must ignore DATABASE_URL."""
    command = [sys.executable, "-m", "sandbox.chaos", "four_layers", "--json", "--speed", "120", *options]
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": PRODUCTION},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.stdout, run.stderr
    return run.returncode, json.loads(run.stdout)


@pytest.mark.test_case("TC-014-015")
def test_no_record_is_lost_and_no_customer_has_two_tickets() -> None:
    code, result = run_scenario("--leads", "60")
    assert code == 0, result
    assert result["sent"] == result["processed"] == 60
    assert result["by_layer"].keys() == {"webhook", "poll", "reconcile", "replay"}


@pytest.mark.skipif(
    "TEST_FULL" not in os.environ, reason="three more scenarios: scripts/test --full runs them"
)
@pytest.mark.parametrize("guard", GUARDS)
def test_without_a_guard_it_fails(guard: str) -> None:
    # Without settle the scenario fails only if a poll starts within 40 s of accelerated time: not too fast.
    code, result = run_scenario("--leads", "200", "--speed", "60", "--mutate", guard)
    assert code == 1
    assert result[GUARDS[guard]]
