"""`leads golive deploy` that SIGKILL ends once at each place of its actions. Run as a program.

The file KILL_PLACES names the places at which it was ended already.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from leads.cli.__main__ import main
from leads.cli.golive.deploy import actions
from leads.cli.golive.deploy.journal import Journal

PLACES = Path(os.environ["KILL_PLACES"])
NOTED_BEFORE = {"begin"}
"""Ended after this entry: the action has not begun. At others the work is done, and not noted."""
WITHOUT_WORK = {"check", "confirmed"}
_write, _running = Journal.write, actions._running


def end_once(*place: str) -> None:
    """End this process if it was not ended at this place before."""
    words = " ".join(place)
    if words not in PLACES.read_text("utf-8").splitlines():
        with PLACES.open("a", encoding="utf-8") as file:
            file.write(f"{words}\n")
            file.flush()
            os.fsync(file.fileno())
        os.kill(os.getpid(), signal.SIGKILL)


def write(journal: Journal, event: str, step: str, **details: Any) -> None:
    """Write the entry, and be ended before or after it."""
    place = (event, step, *map(str, details.get("argv", [])[:4]))
    if event not in NOTED_BEFORE | WITHOUT_WORK:
        end_once(*place)
    _write(journal, event, step, **details)
    if event in NOTED_BEFORE:
        end_once(*place)


@contextmanager
def running(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Be ended while a program of a step runs; it goes on without this process."""
    with _running(argv) as process:
        end_once("during", *argv[:6])
        yield process


if __name__ == "__main__":
    with mock.patch.object(Journal, "write", write), mock.patch.object(actions, "_running", running):
        main()
