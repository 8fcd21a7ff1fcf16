"""Start the stand-in for Hasura, the project in `sandbox/engine/`: as a process, never by an import."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sandbox.processes import Processes

ROOT = Path(__file__).parents[2]
PYTHON = (sys.executable, "-P")
"""-P keeps the working directory, which may be the clone, off the import path."""
MODULE = "graphql_engine"
PYTHONPATH = str(ROOT / "sandbox" / "engine")
"""For the process of the stand-in only."""
LOG_TYPES = "startup,webhook-log,jwk-refresh-log"
"""As in compose.yaml: with `http-log` the engine logs the input of a failed action."""
LOG_END = 2000
"""Characters of a log in a message."""
STATEMENT_TIMEOUT = "30s"
"""How long a reader's statement may take: the value of compose.yaml. The migrations set their own."""


class EngineRefused(Exception):
    """The engine ended before it accepted requests; the message holds the end of its log."""


@dataclass(frozen=True)
class RunningEngine:
    """The process of an engine that accepts requests, and its URL."""

    process: subprocess.Popen[str]
    url: str


def source_url(database_url: str, statement_timeout: str = STATEMENT_TIMEOUT) -> str:
    """Return the URL of the engine's source: PostgreSQL ends a statement that takes longer.

    `statement_timeout` has PostgreSQL's units: `30s`, `200ms`.
    """
    separator = "&" if "?" in database_url else "?"
    return f"{database_url}{separator}options=-c%20statement_timeout%3D{statement_timeout}"


def command(*arguments: str) -> list[str]:
    """Return the command line of an engine on a free port; every process can read it."""
    return [*PYTHON, "-m", MODULE, "--port", "0", *arguments]


def engine_environment(database_url: str) -> dict[str, str]:
    """Return this process's environment with what every engine needs."""
    return {
        **os.environ,
        "PYTHONPATH": PYTHONPATH,
        "HASURA_GRAPHQL_DATABASE_URL": database_url,
        "HASURA_GRAPHQL_ENABLED_LOG_TYPES": LOG_TYPES,
    }


def start_engine(
    processes: Processes, database_url: str, *arguments: str, environment: Mapping[str, str]
) -> RunningEngine:
    """Start an engine and wait until it accepts requests; `environment` is added to this process's.

    Its log is in a directory of `processes`, as the logs of all servers. Raises EngineRefused.
    """
    log = processes.directory("hasura-") / "hasura.log"
    with log.open("w") as output:
        process = processes.start(
            command(*arguments),
            env={**engine_environment(database_url), **environment},
            stdout=subprocess.PIPE,
            stderr=output,
        )
    assert process.stdout is not None
    with process.stdout:
        url = process.stdout.readline().strip()
    if not url:
        code = processes.stop(process)
        end = log.read_text(errors="replace")[-LOG_END:]
        raise EngineRefused(f"the engine did not start: exit code {code}\n{end}")
    return RunningEngine(process, url)
