"""Apply a migrations directory of the Hasura CLI (`<version>_<name>/up.sql`).

Migrations run in order of version, each in one transaction with the row that records it. Recorded ones are
skipped.
"""

import re
from pathlib import Path

from anyio import to_thread
from psycopg import AsyncConnection, Error

from graphql_engine.settings import StartError

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
