"""Start the stand-in for Hasura, the project in `sandbox/engine/`: as a process, never by an import."""

import os
import sys
from collections.abc import Mapping

from sandbox.postgres.server import free_port
from sandbox.processes import ROOT, Processes, Service

COMMAND = (sys.executable, "-P", "-m", "graphql_engine")
"""-P keeps the working directory, which may be the clone, off the import path. Every process can read it."""
PYTHONPATH = str(ROOT / "sandbox" / "engine")
"""For the process of the stand-in only."""
EVENT_LOG = ROOT / "sandbox" / "engine" / "graphql_engine" / "sql" / "init_source.sql"
"""What the engine creates in a source with its first event trigger."""
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


def start_engine(
    processes: Processes, database_url: str, *arguments: str, environment: Mapping[str, str]
) -> Service:
    """Start an engine on a free port; `environment` is added to this process's. Raises NotReady."""
    port = free_port()
    return Service(
        name="hasura",
        arguments=[*COMMAND, "--port", str(port), *arguments],
        environment={
            **os.environ, "PYTHONPATH": PYTHONPATH, "HASURA_GRAPHQL_DATABASE_URL": database_url,
            "HASURA_GRAPHQL_ENABLED_LOG_TYPES": LOG_TYPES, **environment,
        },
        url=f"http://127.0.0.1:{port}",
        ready_path="/healthz",
        log=processes.directory("hasura-") / "hasura.log",
        processes=processes,
    ).bring_up()  # fmt: skip
