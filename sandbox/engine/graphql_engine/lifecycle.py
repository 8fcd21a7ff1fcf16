"""Start and stop of an engine: migrations, first metadata check, background loops, unlocking at the end.

Migrations are those of a directory of the Hasura CLI (`<version>_<name>/up.sql`). They run in order of
version, each in one transaction with the row that records it. Recorded ones are skipped.
"""

import logging
import re
from pathlib import Path

import anyio
from anyio import to_thread
from psycopg import AsyncConnection, Error
from psycopg_pool import PoolTimeout

from graphql_engine import changes, cron
from graphql_engine.cron import Scheduler
from graphql_engine.engine import CONNECT_SECONDS, Engine
from graphql_engine.events import Deliverer
from graphql_engine.metadata.access import default_source
from graphql_engine.settings import StartError
from graphql_engine.sql import statement

# <version>_<name>, or the version alone
DIRECTORY_NAME = re.compile(r"(\d+)_.+\Z|(\d+)\Z")
# Add a version to the state of the CLI, in the shape that the CLI stores.
RECORD = """
    UPDATE hdb_catalog.hdb_version SET cli_state = jsonb_build_object(
        'settings', jsonb_build_object('migration_mode', 'true'),
        'isStateCopyCompleted', true,
        'migrations', jsonb_build_object('default',
            coalesce(cli_state #> '{migrations,default}', '{}') || jsonb_build_object(%s::text, false)))
"""


async def apply_migrations(connection: AsyncConnection, directory: Path) -> list[int]:
    """Run the unrecorded migrations; return their versions.

    `directory` is `migrations` or `migrations/<database>`. Raises StartError naming the file that failed.
    """
    applied = []
    cursor = await connection.execute(
        "SELECT jsonb_object_keys(cli_state -> 'migrations' -> 'default') FROM hdb_catalog.hdb_version"
    )
    done = {int(row[0]) for row in await cursor.fetchall()}
    found = await to_thread.run_sync(find_migrations, directory)
    texts = await to_thread.run_sync(lambda: {v: p.read_text(encoding="utf-8") for v, p in found})
    for version, path in found:
        if version in done:
            continue
        await _apply(connection, version, path, texts[version])
        applied.append(version)
    return applied


def find_migrations(directory: Path) -> list[tuple[int, Path]]:
    """Return versions with their `up.sql`, in order. Raises StartError for an ambiguous directory."""
    if not directory.is_dir():
        raise StartError(f"{directory}: no such migrations directory")
    found = _in(directory)
    if not found:
        databases = sorted(entry for entry in directory.iterdir() if entry.is_dir())
        if len(databases) > 1:
            raise StartError(f"{directory}: migrations of more than one database are not supported")
        found = _in(databases[0]) if databases else []
    versions = [version for version, _ in found]
    if len(set(versions)) != len(versions):
        raise StartError(f"{directory}: two migrations have the same version")
    return sorted(found)


def _in(directory: Path) -> list[tuple[int, Path]]:
    found = []
    for entry in directory.iterdir():
        match = DIRECTORY_NAME.match(entry.name)
        if not match or not entry.is_dir():
            continue
        up = entry / "up.sql"
        if not up.exists():
            raise StartError(f"{entry}: has no up.sql")
        found.append((int(match.group(1) or match.group(2)), up))
    return found


async def _apply(connection: AsyncConnection, version: int, path: Path, text: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(text.encode())
            await connection.execute(RECORD, [str(version)])
    except Error as error:
        raise StartError(f"{path}: {error}") from error


log = logging.getLogger("graphql_engine")


class Lifecycle:
    """Open, run, drain and close one engine, in this order."""

    def __init__(self, engine: Engine, migrations: Path | None = None) -> None:
        self.engine = engine
        self._migrations = migrations
        self._finished = anyio.Event()
        self._deliverer = Deliverer(engine)
        self._scheduler = Scheduler(engine)

    async def open(self) -> None:
        """Connect, apply migrations, check the metadata, install its triggers.

        Raises StartError.
        """
        engine = self.engine
        try:
            await engine.pool.open(wait=True, timeout=CONNECT_SECONDS)
        except PoolTimeout as error:
            raise StartError(f"the database cannot be reached: {error}") from error
        async with engine.pool.connection() as connection:
            await connection.execute(statement("init_metadata"))
            if self._migrations is not None:
                await apply_migrations(connection, self._migrations)
            await cron.unlock(connection)
        if not engine.metadata["sources"]:
            engine.metadata["sources"].append(default_source())
        await changes.rebuild(engine)
        if engine.inconsistent:
            first = engine.inconsistent[0]
            raise StartError(f"metadata: {first['name']}: {first['reason']}")

    async def run(self) -> None:
        """Run the background loops until `engine.stop` is set and the work in flight has ended."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._deliverer.run)
            group.start_soon(self._scheduler.run)
        self._finished.set()

    async def drain(self) -> None:
        """Take no new work and wait for the work in flight, at most `graceful_shutdown_seconds` seconds."""
        self.engine.stop.set()
        self.engine.clock.nudge()
        with anyio.move_on_after(self.engine.settings.graceful_shutdown_seconds):
            await self._finished.wait()

    async def close(self) -> None:
        try:
            unlocked = await self._deliverer.unlock()
            if unlocked:
                log.info("%d locked events were unlocked", unlocked)
            await self._scheduler.unlock()
        except (Error, PoolTimeout) as error:
            log.error("locked events could not be unlocked: %s", error)
        await self.engine.http.aclose()
        await self.engine.pool.close()
