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


class EngineRefused(Exception):
    """The engine ended before it accepted requests; its stderr says why."""


@dataclass(frozen=True)
class RunningEngine:
    """The process of an engine that accepts requests, and its URL."""

    process: subprocess.Popen[str]
    url: str


def command(database_url: str, *arguments: str) -> list[str]:
    """Return the command line of an engine on a free port."""
    return [*PYTHON, "-m", MODULE, "--database-url", database_url, "--port", "0", *arguments]


def metadata_arguments(*directories: Path) -> list[str]:
    """Return the options that name metadata directories."""
    return [part for directory in directories for part in ("--metadata", str(directory))]


def start_engine(
    processes: Processes, database_url: str, *arguments: str, environment: Mapping[str, str]
) -> RunningEngine:
    """Start an engine and wait until it accepts requests; `environment` is added to this process's.

    Raises EngineRefused.
    """
    process = processes.start(
        command(database_url, *arguments),
        env={**os.environ, "PYTHONPATH": PYTHONPATH, **environment},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout:
        url = process.stdout.readline().strip()
    if not url:
        raise EngineRefused(f"the engine did not start: exit code {processes.stop(process)}")
    return RunningEngine(process, url)
