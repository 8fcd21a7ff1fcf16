"""The baseline of the benchmarks: pgbench, PostgreSQL's load generator."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import typer

from sandbox.postgres.psql import psql_environment


def pgbench(
    database_url: str,
    script: str,
    *,
    clients: int,
    seconds: float,
    variables: Mapping[str, str] | None = None,
) -> float:
    """Run a script with prepared statements and return its transactions per second.

    Raises typer.Exit if pgbench is not installed, RuntimeError if it fails.
    """
    program = find()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.sql"
        path.write_text(script)
        options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=2"]
        options += [f"--define={name}={value}" for name, value in (variables or {}).items()]
        done = subprocess.run(
            [program, *options, f"--time={max(1, round(seconds))}", f"--file={path}"],
            env=os.environ | psql_environment(database_url),
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode != 0 or not found:
        raise RuntimeError(f"pgbench failed:\n{done.stderr[-2000:]}")
    return float(found[1])


def find() -> str:
    """Return the path of pgbench, from PATH or from Debian's directories. Raises typer.Exit."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), reverse=True)
    program = shutil.which("pgbench") or next(map(str, places), None)
    if program is None:
        typer.echo(
            "pgbench was not found. Install it with: apt-get install postgresql-contrib",
            err=True,
        )
        raise typer.Exit(2)
    return program
