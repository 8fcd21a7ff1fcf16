"""The rights of the database roles, compared with those that deploy/postgres/grant_roles.sql gives."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ops.clients.db_session import QUERIES, DbSession
from ops.failures import CommandFailed, file_reason
from ops.golive.commit import CLONE

GRANT = CLONE / "deploy" / "postgres" / "grant_roles.sql"
ROLE = re.compile(r"SELECT '(\w+)'")
RIGHT = re.compile(r"\s+\('([\w.]+)', '([A-Z]+)', (?:NULL|'([\w, ]+)')\),?")
"""A line of the list: table, right, and the columns if it is not for the whole table."""


def load_rights(session: DbSession) -> Mapping[str, Any]:
    """Return the row of golive/load_rights. Raises DatabaseError and CommandFailed."""
    rights = json.dumps(list(listed_rights()))
    row = session.execute(QUERIES["golive/load_rights"], {"rights": rights}).fetchone()
    assert row is not None
    return row


def listed_rights() -> Iterator[Mapping[str, Any]]:
    """Yield each right that the file lists. Raises CommandFailed without the file."""
    try:
        lines = GRANT.read_text("utf-8").splitlines()
    except OSError as error:
        raise CommandFailed(f"{GRANT} cannot be read: {file_reason(error)}") from error
    role = ""
    for line in lines:
        if found := ROLE.search(line):
            role = found[1]
        elif right := RIGHT.fullmatch(line):
            columns = right[3].split(", ") if right[3] else None
            yield {"role": role, "name": right[1], "privilege": right[2], "columns": columns}
