"""Start the stand-in for Hasura, the project in `sandbox/engine/`: as a process, never by an import."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from ops.metadata.directory import read_directory
from sandbox.postgres.server import free_port
from sandbox.processes import ROOT, Processes, Service

COMMAND = (sys.executable, "-P", "-m", "graphql_engine")
"""-P keeps the working directory, which may be the clone, off the import path. Every process can read it."""
PYTHONPATH = str(ROOT / "sandbox" / "engine")
"""For the process of the stand-in only."""
EVENT_LOG = ROOT / "sandbox" / "engine" / "graphql_engine" / "sql" / "init_source.sql"
"""What the engine creates in a source with its first event trigger."""
CRON_LOG = EVENT_LOG.with_name("init_metadata.sql")
"""What the engine creates in the database of its metadata, which a given engine often has elsewhere."""
LOG_TYPES = "startup,webhook-log,jwk-refresh-log"
"""As in compose.yaml: with `http-log` the engine logs the input of a failed action."""
STATEMENT_TIMEOUT = "30s"
"""How long a reader's statement may take: the value of compose.yaml. The migrations set their own."""


def source_url(database_url: str, statement_timeout: str = STATEMENT_TIMEOUT) -> str:
    """Return the URL of the engine's source: PostgreSQL ends a statement that takes longer.

    `statement_timeout` has PostgreSQL's units: `30s`, `200ms`.
    """
    separator = "&" if "?" in database_url else "?"
    return f"{database_url}{separator}options=-c%20statement_timeout%3D{statement_timeout}"


def metadata_option(directory: Path, file: Path) -> list[str]:
    """Write the metadata of a directory into a file, as the engine takes them; return the option with it."""
    file.write_text(json.dumps(read_directory(directory)), "utf-8")
    return ["--metadata", str(file)]


def start_engine(
    processes: Processes, database_url: str, *arguments: str, metadata: Path | None = None,
    environment: Mapping[str, str],
) -> Service:  # fmt: skip
    """Start an engine on a free port, with the metadata of a directory. Raises NotReady.

    `environment` is added to this process's.
    """
    port, home = free_port(), processes.directory("hasura-")
    given = [] if metadata is None else metadata_option(metadata, home / "metadata.json")
    return Service(
        name="hasura",
        arguments=[*COMMAND, "--port", str(port), *given, *arguments],
        environment={
            **os.environ, "PYTHONPATH": PYTHONPATH, "HASURA_GRAPHQL_DATABASE_URL": database_url,
            "HASURA_GRAPHQL_ENABLED_LOG_TYPES": LOG_TYPES, **environment,
        },
        url=f"http://127.0.0.1:{port}",
        ready_path="/healthz",
        log=home / "hasura.log",
        processes=processes,
    ).bring_up()  # fmt: skip
