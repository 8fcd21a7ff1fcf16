"""Run PostgreSQL's own programs, `pg_dump` and `pg_restore`, on the database of a URL."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from tempfile import NamedTemporaryFile

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from leads.domain.errors import IntegrationError
from ops.files import replacing
from ops.settings import CLONE

MAX_SECONDS = 3600.0
MAX_REASON_CHARACTERS = 300


class PgProgramFailed(IntegrationError):
    """A program of PostgreSQL is not there, ended with an error, or took more than an hour."""

    code = "pg_program_failed"


def dump_tables(database_url: str, tables: tuple[str, ...], path: Path, programs: Path | None = None) -> None:
    """Dump tables with their rows into a new file in PostgreSQL's custom format (mode 0600).

    `programs` is the folder of pg_dump; without it the one on PATH. The file has its name only when it is
    complete. Raises PgProgramFailed.
    """
    patterns = [argument for table in tables for argument in ("--table", table)]
    with _connection(database_url) as connection, replacing(path) as fresh:
        arguments = ["--format", "custom", "--no-password", "--file", str(fresh), *patterns]
        _run("pg_dump", [*arguments, "--dbname", connection], programs)


def restore_rows(database_url: str, path: Path, programs: Path | None = None) -> None:
    """Bring the rows of a dump into its tables, which are there and empty, in one transaction.

    Triggers are off meanwhile, which only a superuser may do. Raises PgProgramFailed.
    """
    arguments = ["--data-only", "--disable-triggers", "--single-transaction", "--no-password"]
    with _connection(database_url) as connection:
        _run("pg_restore", [*arguments, "--dbname", connection, str(path)], programs)


def list_dumped_tables(path: Path, programs: Path | None = None) -> set[str]:
    """Return the tables, `schema.table`, of which a dump holds the rows. Raises PgProgramFailed."""
    listing = _run("pg_restore", ["--list", str(path)], programs)
    # 3512; 0 16390 TABLE DATA public account postgres
    words = (line.partition(" TABLE DATA ")[2].split() for line in listing.splitlines())
    return {f"{found[0]}.{found[1]}" for found in words if found}


def _run(name: str, arguments: list[str], programs: Path | None) -> str:
    program = str(programs / name) if programs else shutil.which(name)
    if program is None:
        raise PgProgramFailed(f"{name} is not on PATH. Install PostgreSQL's client programs.")
    try:
        run = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            timeout=MAX_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PgProgramFailed(f"{name} did not run: {type(error).__name__}") from error
    if run.returncode != 0:
        lines = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
        raise PgProgramFailed(f"{name} failed: {lines[0][:MAX_REASON_CHARACTERS]}")
    return run.stdout


def reaching(text: str, database_url: str) -> str:
    """Let the calls of psql in a text reach the server of an address, and our files from this folder."""
    psql, folder = _psql_call(database_url), "" if Path.cwd() == CLONE else quote(f"{CLONE}/")
    return text.replace("psql -c ", f"{psql} -c ").replace("psql -f ", f"{psql} -f {folder}")


def _psql_call(database_url: str) -> str:
    """Return `psql` with the options that name the server of an address; without password and role."""
    try:
        given = conninfo_to_dict(database_url)
    except ProgrammingError:  # the check of the variables says so
        given = {}
    options = (("-h", "host"), ("-p", "port"), ("-d", "dbname"))
    return " ".join(
        ["psql", *(f"{flag} {quote(str(given[name]))}" for flag, name in options if given.get(name))]
    )


@contextmanager
def _connection(database_url: str) -> Iterator[str]:
    """Yield the connection with its password in a file: any process could read it among the arguments."""
    values = {name: str(value) for name, value in conninfo_to_dict(database_url).items()}
    password = values.pop("password", "")
    with NamedTemporaryFile("w", encoding="utf-8") as file:  # mode 0600
        if password:
            escaped = password.replace("\\", "\\\\").replace(":", "\\:")
            file.write(f"*:*:*:*:{escaped}\n")
            file.flush()
            values["passfile"] = file.name
        yield make_conninfo(**values)
