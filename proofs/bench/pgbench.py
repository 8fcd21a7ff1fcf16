"""The baseline of the benchmarks: pgbench, PostgreSQL's load generator."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import typer

from proofs.bench.slices import Done
from sandbox.postgres.psql import psql_environment

WARM_UP_SECONDS = 2
"""A new session plans a statement anew at each of its first five executions."""


def pgbench(
    database_url: str,
    script: str,
    *,
    clients: int,
    seconds: float,
    variables: Mapping[str, str] | None = None,
) -> Callable[[], Done]:
    """Run a script with prepared statements; return when its sessions are warm.

    The returned call waits for the end, and returns the transactions since then. Raises typer.Exit if pgbench
    is not installed; both raise RuntimeError if it fails.
    """
    seconds = max(1, round(seconds))
    options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=2", "--progress=1"]
    options += [f"--define={name}={value}" for name, value in (variables or {}).items()]
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        process = subprocess.Popen(
            [find(), *options, f"--time={WARM_UP_SECONDS + seconds}", f"--file={file.name}"],
            env=os.environ | psql_environment(database_url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        before = _warm_up(process)
    return lambda: _finish(process, before, seconds)


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


def _warm_up(process: subprocess.Popen[str]) -> float:
    """Return how many transactions were made in the seconds of the warm-up. Raises RuntimeError."""
    assert process.stderr is not None
    lines, number = [], 0.0
    for _ in range(WARM_UP_SECONDS):
        while not (found := re.match(r"progress: [\d.]+ s, ([\d.]+) tps", line := process.stderr.readline())):
            lines.append(line)
            if not line:
                process.communicate()
                raise RuntimeError(f"pgbench failed:\n{''.join(lines)[-2000:]}")
        number += float(found[1])
    return number


def _finish(process: subprocess.Popen[str], before: float, seconds: float) -> Done:
    stdout, stderr = process.communicate()
    number = re.search(r"transactions actually processed: (\d+)", stdout)
    if process.returncode != 0 or not number:
        raise RuntimeError(f"pgbench failed:\n{stderr[-2000:]}")
    return Done(round(int(number[1]) - before), seconds)
