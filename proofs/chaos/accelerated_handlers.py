"""The handlers with an accelerated clock, for the chaos runs in which time passes faster."""

import os
from datetime import datetime
from pathlib import Path

from starlette.applications import Starlette

import app
from leads.adapters.clock import Clock
from leads.adapters.logs import configure_logs
from leads.adapters.settings import read_settings
from leads.runtime import Runtime
from sandbox.accelerated_clock import AcceleratedClock

CLOCK_FILE = "CLOCK_FILE"


class HandlerClock(Clock):
    """The time of day is accelerated; durations are real."""

    def __init__(self, accelerated: AcceleratedClock) -> None:
        self._accelerated = accelerated

    def now(self) -> datetime:
        return self._accelerated.now()


def create_app() -> Starlette:
    """Create the application, configured by the environment and by CLOCK_FILE."""
    configure_logs("WARNING")
    clock = HandlerClock(AcceleratedClock(Path(os.environ[CLOCK_FILE])))
    return app.create_app(Runtime.assemble(read_settings(), clock=clock))
