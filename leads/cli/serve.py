"""`leads serve`: the handlers on the address BIND. It is the command of the image."""

import signal
from pathlib import Path

import uvicorn

from leads.adapters.settings import SettingsError, read_bind, read_settings

APP_FOLDER = Path(__file__).resolve().parents[2]
"""The folder that holds app.py, beside leads/."""

SHUTDOWN_SECONDS = 25
"""Less than the 30 s that Kubernetes waits by default, and compose.yaml sets, before a process is killed."""


def serve() -> None:
    """Serve the handlers until Ctrl-C or SIGTERM.

    The address is BIND, 127.0.0.1:8000 by default. It needs the variables of the handlers, which .env.example
    lists. Logs are JSON lines on stdout. Exit code 2: the environment is incomplete; every problem is named.
    """
    host, port = _check_environment()
    # uvicorn ends by the signal that stopped it, as an orchestrator expects.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    uvicorn.run(
        "app:create_app",
        factory=True,
        app_dir=str(APP_FOLDER),
        host=host,
        port=port,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )


def _check_environment() -> tuple[str, int]:
    """Return the address and port to serve on. Raises SettingsError with all problems at once."""
    problems: list[str] = []
    address = ("", 0)
    try:
        address = read_bind()
    except SettingsError as error:
        problems += error.problems
    try:
        read_settings()
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(*problems)
    return address
