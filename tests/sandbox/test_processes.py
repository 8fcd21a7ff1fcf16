"""Child processes end with their owner: SIGTERM first, then SIGKILL."""

import signal
import sys
from pathlib import Path

from sandbox.processes import Processes
from tests.support.waiting import eventually

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    with Processes() as processes:
        log = processes.directory("test-") / "log"
        with log.open("w") as output:
            child = processes.start([sys.executable, "-c", STUBBORN], stdout=output)
        eventually(log.read_text, seconds=20)
        assert processes.stop(child, timeout_seconds=0.2) == -signal.SIGKILL


def test_closing_ends_children_and_removes_directories() -> None:
    with Processes() as processes:
        directory = processes.directory("test-")
        (directory / "file").touch()
        child = processes.start(["/bin/sleep", "60"])
    assert child.returncode == -signal.SIGTERM
    assert not Path(directory).exists()
