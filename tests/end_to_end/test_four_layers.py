"""The scenario four_layers, small; scripts/test --full runs it, and a whole day, in full."""

import json
import os
import subprocess
import sys

import pytest

from sandbox.stack.services import ROOT

PRODUCTION = "postgresql://nobody@127.0.0.1:9/production"
"""The scenario must ignore DATABASE_URL."""


@pytest.mark.test_case("TC-014-015")
def test_no_record_is_lost_and_no_customer_has_two_tickets() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "sandbox.chaos", "four_layers", "--json", "--speed=120", "--leads=60"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "DATABASE_URL": PRODUCTION},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert run.stdout, run.stderr
    result = json.loads(run.stdout)
    assert run.returncode == 0, result
    assert result["sent"] == result["processed"] == 60
    assert result["by_layer"].keys() == {"webhook", "poll", "reconcile", "replay"}
