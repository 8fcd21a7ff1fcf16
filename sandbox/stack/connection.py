"""Connect the sandbox to a Pancake workspace: connection, sources, rosters, kill switch off.

compose.yaml runs it as a program, configured by the environment: `python -m sandbox.stack.connection`.
It also gives handlers and operators their database roles.
"""

import os
from dataclasses import dataclass

import psycopg
from psycopg.rows import DictRow, dict_row

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


@dataclass(frozen=True)
class Access:
    """The credentials of the webhook and of the workspace's REST API."""

    webhook_token: str
    header_secret: str
    api_key: str
    api_base_url: str
    encryption_keys: str


def connect_pancake(database_url: str, access: Access) -> None:
    """Write the rows that an administrator of Diva would write, to a migrated database, once."""
    ring = KeyRing.parse(access.encryption_keys)
    with psycopg.connect(database_url, row_factory=dict_row) as db_connection:
        try:
            create_connection(
                db_connection, ring, "Diva sandbox", WORKSPACE_ID, access.api_base_url, access.api_key,
                connection_id=CONNECTION_ID, token=access.webhook_token, header_secret=access.header_secret,
            )  # fmt: skip
        except CommandFailed:  # an earlier start created it
            return
        for source in SOURCES:
            values = [CONNECTION_ID, source.id, source.name, source.is_active]
            created = db_connection.execute(_SOURCE, values).fetchone()
            assert created is not None
            _fill_roster(db_connection, created["id"], source.roster)
        _fill_roster(db_connection, None, DEFAULT_ROSTER)
        db_connection.execute(_DISABLE_KILL_SWITCH)


def _fill_roster(
    db_connection: psycopg.Connection[DictRow], source_id: object, staff: tuple[str, ...]
) -> None:
    for member in staff:
        db_connection.execute(
            "INSERT INTO pancake_assignee (source_id, staff_id) VALUES (%s, %s)", [source_id, member]
        )


if __name__ == "__main__":
    logins = {
        "diva_handlers": (HANDLERS, os.environ["HANDLERS_PASSWORD"]),
        "diva_operators": (OPERATORS, os.environ["OPERATORS_PASSWORD"]),
    }
    grant_rights(os.environ["DATABASE_URL"], logins)
    connect_pancake(
        os.environ["DATABASE_URL"],
        Access(
            webhook_token=os.environ["WEBHOOK_TOKEN"],
            header_secret=os.environ["WEBHOOK_HEADER_SECRET"],
            api_key=os.environ["PANCAKE_API_KEY"],
            api_base_url=os.environ["PANCAKE_API_BASE_URL"],
            encryption_keys=os.environ["ENCRYPTION_KEYS"],
        ),
    )
