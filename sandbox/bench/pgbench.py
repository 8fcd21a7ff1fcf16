"""The baseline: pgbench, PostgreSQL's own load generator, with a script of ours."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import typer


def pgbench(
    database_url: str,
    script: str,
    *,
    clients: int,
    seconds: float,
    variables: Mapping[str, str] | None = None,
) -> float:
    """Transactions per second of a pgbench script, prepared. Raises typer.Exit without pgbench."""
    program = find()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "script.sql"
        path.write_text(script)
        options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=2"]
        options += [f"--define={name}={value}" for name, value in (variables or {}).items()]
        done = subprocess.run(
            [program, *options, f"--time={max(1, round(seconds))}", f"--file={path}", database_url],
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode != 0 or not found:
        raise RuntimeError(f"pgbench failed:\n{done.stderr[-2000:]}")
    return float(found[1])


def find() -> str:
    """The program on PATH or in Debian's places. Raises typer.Exit with what to do."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), reverse=True)
    program = shutil.which("pgbench") or next(map(str, places), None)
    if program is None:
        typer.echo(
            "pgbench was not found: install PostgreSQL's contrib programs (Debian: postgresql-contrib).",
            err=True,
        )
        raise typer.Exit(2)
    return program
