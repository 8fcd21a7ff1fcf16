"""The rights of the database roles, compared with the list of the file that grants them."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from leads.adapters.db_session import DbSession
from leads.cli.golive.rights import GRANT, RIGHT, listed_rights, load_rights


@pytest.fixture
def session(database: str) -> Iterator[DbSession]:
    """A session whose grants are rolled back."""
    with psycopg.Connection[dict[str, Any]].connect(database, row_factory=dict_row) as opened:
        yield opened
        opened.rollback()


def listed() -> list[tuple[str, str, str, str | None]]:
    """Each right for a table or a column."""
    return [
        (each["role"], each["privilege"], each["name"], column)
        for each in listed_rights()
        for column in each["columns"] or [None]
    ]


def test_every_line_of_the_list_is_read() -> None:
    lines = [line for line in GRANT.read_text("utf-8").splitlines() if line.strip().startswith("('")]
    assert [line for line in lines if not RIGHT.fullmatch(line)] == []
    assert len(list(listed_rights())) == len(lines)
    assert {role for role, *_ in listed()} == {"pancake_handlers", "pancake_operators"}


def test_granted_is_what_is_listed(session: DbSession) -> None:
    session.execute(GRANT.read_bytes())
    row = load_rights(session)
    assert (row["missing"], row["further"]) == ([], [])
    there = [right for right in listed() if session.execute("SELECT to_regclass(%s) AS x", [right[2]])
             .fetchone()["x"]]  # type: ignore[index]  # fmt: skip
    assert row["granted"] == len(there)


@pytest.mark.parametrize(
    ("statement", "missing", "further"),
    [
        (
            "REVOKE UPDATE (source_id) ON ticket FROM pancake_operators",
            ["pancake_operators UPDATE public.ticket source_id"], [],
        ),
        (
            "REVOKE INSERT ON pancake_webhook_event FROM pancake_handlers",
            ["pancake_handlers INSERT public.pancake_webhook_event"], [],
        ),
        (
            "GRANT UPDATE (role) ON staff TO pancake_operators", [],
            ["pancake_operators UPDATE public.staff role"],
        ),
        ("GRANT DELETE ON account TO pancake_handlers", [], ["pancake_handlers DELETE public.account"]),
        (
            "ALTER ROLE pancake_handlers BYPASSRLS", [],
            ["pancake_handlers is a superuser, passes row security, or creates roles or databases"],
        ),
        (
            "REVOKE USAGE ON SCHEMA public FROM PUBLIC, pancake_operators",
            ["pancake_operators USAGE schema public"], [],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_what_lacks_and_what_is_too_much_is_named(
    session: DbSession, statement: str, missing: list[str], further: list[str]
) -> None:
    session.execute(GRANT.read_bytes())
    session.execute(statement.encode())
    row = load_rights(session)
    assert (row["missing"], row["further"]) == (missing, further)


def test_without_the_roles_everything_is_missing(session: DbSession, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = [dict(each) | {"role": f"{each['role']}_unknown"} for each in listed_rights()]
    monkeypatch.setattr("leads.cli.golive.rights.listed_rights", lambda: unknown)
    row = load_rights(session)
    assert row["granted"] == 0
    assert len(row["missing"]) >= len(unknown)
