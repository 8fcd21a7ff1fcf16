"""Which SQL statements and functions of the product the tests execute. A plugin of the measured run.

A statement counts when a process of the tests has executed it without an error, a function when a server of
the tests has counted a call. What a process sends that a test starts is named although it is tested.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg._cursor_base import BaseCursor

from leads.adapters import round_trip
from ops.clients.db_session import QUERIES
from proofs.mutants.coverage_of_tests import FOLDER
from proofs.mutants.places import MIGRATIONS
from sandbox.postgres import server
from tests.support.databases import END_SESSIONS, EmptiedDatabase

CALLED = "SELECT funcname FROM pg_stat_user_functions"
DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate"
_CREATED = re.compile(r"(?ms)^CREATE (?:OR REPLACE )?(?:FUNCTION|VIEW) (?:\w+\.)?(\w+)(.*?;\n)(?=\n|--|\Z)")
executed: set[bytes] = set()
"""The texts of statements, as QUERIES has them."""
called: set[str] = set()
"""The names of functions."""


def pytest_configure() -> None:
    """Record from now on; servers that a test starts count the calls of functions."""
    server._SETTINGS["track_functions"] = "all"
    record(setattr)


def record(replace: Callable[[Any, str, Any], None]) -> None:
    """Wrap what executes statements, and what would lose the calls that a server has counted."""
    replace(round_trip, "_run_together", _recorded(round_trip._run_together))
    replace(BaseCursor, "_execute_gen", _recorded(BaseCursor._execute_gen))
    cluster = server.Cluster
    replace(cluster, "drop_database", _after(lambda it, name: _read(it.url(name)), cluster.drop_database))
    replace(cluster, "close", _after(_read_all, cluster.close))
    db = EmptiedDatabase  # calls this after its sessions have ended, before its counts are reset
    replace(db, "_check_schema", _after(lambda it: called.update(*it._rows(CALLED)), db._check_schema))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the names, of each process of xdist in files of its own."""
    worker = getattr(session.config, "workerinput", {"workerid": "main"})["workerid"]
    names = (name for name, text in QUERIES.items() if text in executed)
    (FOLDER / f"statements-{worker}").write_text("\n".join(names))
    (FOLDER / f"functions-{worker}").write_text("\n".join(called))


def unexecuted(root: Path, folder: Path = FOLDER) -> Iterator[str]:
    """Yield the statements and functions that no test executed.

    The planner puts the body of many a function in SQL into the statement that calls it, where PostgreSQL
    counts no call. So these, and views, also count if the text of something executed has their name.
    """
    statements, found = (
        {name for path in folder.glob(f"{kind}-*") for name in path.read_text().split()}
        for kind in ("statements", "functions")
    )
    yield from sorted(QUERIES.keys() - statements)
    migrations = sorted((root / MIGRATIONS).glob("*/up.sql"))
    left = dict(_CREATED.findall("".join(path.read_text("utf-8") for path in migrations)))
    reached = " ".join(QUERIES[name].decode() for name in statements & QUERIES.keys())
    while True:
        reached += " ".join(left.pop(name, "") for name in found)
        by_name = (name for name, body in left.items() if "LANGUAGE plpgsql" not in body)
        if not (found := {name for name in by_name if re.search(rf"\b{name}\b", reached)}):
            break
    yield from (f"{name}()" for name in sorted(left))


def _read(url: str) -> None:
    """Record the functions that were called in a database. A session hands over its counts when it ends."""
    with suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as session:
        session.execute(END_SESSIONS, [[]])
        called.update(name for (name,) in session.execute(CALLED))


def _read_all(cluster: server.Cluster) -> None:
    with suppress(psycopg.OperationalError), psycopg.connect(cluster.url("postgres")) as session:
        for (name,) in session.execute(DATABASES).fetchall():
            _read(cluster.url(name))


def _after(act: Callable[..., None], method: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        act(*arguments)
        return method(*arguments)

    return wrapped


def _recorded(run: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a generator that executes one statement, or several with their parameters."""

    def wrapped(owner: object, sent: Any, *arguments: Any, **options: Any) -> Any:
        result = yield from run(owner, sent, *arguments, **options)
        texts = [text for text, _ in sent] if isinstance(sent, list) else [sent]
        executed.update(text for text in texts if isinstance(text, bytes))
        return result

    return wrapped
