"""Connect the sandbox to a Pancake workspace: connection, sources, rosters, kill switch off.

compose.yaml runs it as a program, configured by the environment: `python -m sandbox.stack.connection`.
It also gives handlers and operators their database roles.
"""

import os
from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row

from leads.adapters.secrets import KeyRing
from ops.daily.connection_secrets import create_connection
from ops.failures import CommandFailed
from sandbox.postgres.database import HANDLERS, OPERATORS, grant_rights

WORKSPACE_ID = 607
CONNECTION_ID = "f0000000-0000-4000-8000-000000000001"
STAFF = [f"c0000000-0000-4000-8000-00000000000{number}" for number in range(1, 7)]
"""Diva's six telesales staff members, the last of them off duty."""


@dataclass(frozen=True)
class Source:
    """A source of the workspace. Its leads go to `roster`, or to the default roster if that is empty."""

    id: str
    name: str
    is_active: bool
    roster: tuple[str, ...] = ()


SOURCES = (
    Source("-1", "Facebook", True, tuple(STAFF[:3])),
    Source("24895", "Cộng tác viên", True, tuple(STAFF[3:])),
    Source("-5", "TikTok", True),
    Source("-9", "Google", False),
    Source("(none)", "Không có nguồn", False),
)
DEFAULT_ROSTER = tuple(STAFF[:5])

_SOURCE = """
    INSERT INTO pancake_source (connection_id, pancake_source_id, name, is_active)
    VALUES (%s, %s, %s, %s) RETURNING id
"""
_DISABLE_KILL_SWITCH = """
    UPDATE app_setting
    SET app_settings = jsonb_set(app_settings, '{pancake_integration,kill_switch}', 'false')
    WHERE id = 1
"""


def connect_pancake(
    database_url: str, encryption_keys: str, api_base_url: str, api_key: str, token: str, header_secret: str
) -> None:
    """Write the rows that an administrator of Diva would write, to a migrated database, once.

    `token` and `header_secret` are those of the webhook.
    """
    with psycopg.connect(database_url, row_factory=dict_row) as db_connection:
        try:
            create_connection(
                db_connection, KeyRing.parse(encryption_keys), "Diva sandbox", WORKSPACE_ID, api_base_url,
                api_key, connection_id=CONNECTION_ID, token=token, header_secret=header_secret,
            )  # fmt: skip
        except CommandFailed:  # an earlier start created it
            return
        members: list[tuple[object, str]] = [(None, member) for member in DEFAULT_ROSTER]
        for source in SOURCES:
            values = [CONNECTION_ID, source.id, source.name, source.is_active]
            (row,) = db_connection.execute(_SOURCE, values).fetchall()
            members += [(row["id"], member) for member in source.roster]
        statement = "INSERT INTO pancake_assignee (source_id, staff_id) VALUES (%s, %s)"
        db_connection.cursor().executemany(statement, members)
        db_connection.execute(_DISABLE_KILL_SWITCH)


if __name__ == "__main__":
    given = os.environ
    logins = {
        "diva_handlers": (HANDLERS, given["HANDLERS_PASSWORD"]),
        "diva_operators": (OPERATORS, given["OPERATORS_PASSWORD"]),
    }
    grant_rights(given["DATABASE_URL"], logins)
    connect_pancake(
        given["DATABASE_URL"], given["ENCRYPTION_KEYS"], given["PANCAKE_API_BASE_URL"],
        given["PANCAKE_API_KEY"], given["WEBHOOK_TOKEN"], given["WEBHOOK_HEADER_SECRET"],
    )  # fmt: skip
