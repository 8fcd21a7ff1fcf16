"""The programs that a step runs: they end with leads, or keep the next deployment back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leads.cli.golive.deploy.site import AnotherDeployment, _file_lock
from sandbox.stack.services import ROOT

INTERRUPTED = """
import signal
from leads.cli.golive.deploy.actions import program
signal.signal(signal.SIGTERM, signal.default_int_handler)
program(("sh", "-c", "echo $$; exec sleep 60")).run()
"""


def test_a_program_of_a_step_ends_with_leads() -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stderr is not None
    with running.stderr as said:
        child = int(said.readline())
        running.terminate()
        assert running.wait(20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_program_that_outlives_leads_keeps_the_next_deployment_back(tmp_path: Path) -> None:
    """After a SIGKILL of leads its program goes on: the lock is free when that has ended."""
    lock = tmp_path / "deploy.lock"
    with _file_lock(lock):
        left = subprocess.Popen(["sleep", "60"], close_fds=False)
    with pytest.raises(AnotherDeployment), _file_lock(lock):
        raise AssertionError
    left.kill()
    left.wait()
    with _file_lock(lock):
        pass
