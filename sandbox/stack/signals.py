"""Wait for Ctrl-C or SIGTERM, and clean up on both.

A process that a script starts in the background ignores Ctrl-C (SIGINT) unless it sets a handler.
"""

import signal
import sys
import threading
from types import FrameType
from typing import NoReturn


def exit_on_sigterm() -> None:
    """Make SIGTERM raise SystemExit, so that every context manager cleans up as after Ctrl-C.

    The exit code is 128 + the signal number, as a shell reports it.
    """

    def exit_process(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, exit_process)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until_stopped() -> None:
    """Block until Ctrl-C. SIGTERM raises SystemExit if `exit_on_sigterm` was called."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
