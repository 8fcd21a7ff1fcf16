"""Staying up until told to stop, and leaving by the front door when told."""

import signal
import sys
import threading
from types import FrameType
from typing import NoReturn


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that every context manager cleans up."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def until_stopped() -> None:
    """Block until Ctrl-C; SIGTERM leaves through SystemExit."""
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        return
