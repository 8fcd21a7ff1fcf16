"""Statements on libpq: prepared once, converted as psycopg converts, and safe after every error."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from leads.adapters import round_trip
from leads.adapters.pools import CONNECTION_SETTINGS
from leads.adapters.queries import QUERIES
from leads.adapters.round_trip import PreparingConnection, Text, run_together

MAX_PARAMETERS = 65_535
"""Of libpq for one statement."""
ONE: Text = (b"SELECT 1 AS one", {})
DIVIDE: Text = (b"SELECT 1 / %(by)s::integer AS quotient", {"by": 0})
NO_TABLE: Text = (b"SELECT * FROM no_such_table", {})
PREPARED: Text = (b"SELECT count(*) AS count FROM pg_prepared_statements WHERE name LIKE 'leads%%'", {})


@pytest.fixture
async def session(database: str) -> AsyncIterator[PreparingConnection]:
    opened = await PreparingConnection.connect(database, **CONNECTION_SETTINGS)
    yield opened
    await opened.close()


async def prepared(session: PreparingConnection) -> int:
    """The statements that the server holds, this question included."""
    ((row,),) = await run_together(session, [PREPARED])
    return int(row["count"])


async def test_a_statement_is_prepared_once_also_after_a_rollback(session: PreparingConnection) -> None:
    for _ in range(3):
        await run_together(session, [(b"BEGIN", {}), ONE, ONE, (b"ROLLBACK", {})])
    assert await prepared(session) == 4  # BEGIN, ONE, ROLLBACK and the question
    assert await prepared(session) == 4


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", None), ("boolean", True), ("bigint", 5), ("bigint", 70_000), ("bigint", 2**40),
        ("integer", -1), ("float8", 1.5), ("text", ""), ("text", "Nguyễn 'x' %s \\"), ("bytea", b"\x00\xff"),
        ("bigint[]", [1, 2**40]), ("text[]", []), ("text[]", ["a", None]), ("date", date(2026, 5, 1)),
        ("uuid", UUID("d0000000-0000-4000-8000-000000000002")), ("interval", timedelta(days=3, seconds=5)),
        ("timestamptz", datetime(2026, 5, 1, 2, 3, 4, 5, UTC)), ("jsonb", '{"a": [1, null]}'),
        ("timestamptz[]", [datetime(2026, 5, 1, tzinfo=UTC)]),
    ],
)  # fmt: skip
async def test_values_are_converted_as_psycopg_converts_them(
    session: PreparingConnection, kind: str, value: Any
) -> None:
    text, params = f"SELECT %(value)s::{kind} AS value".encode(), {"value": value}
    expected = await (await session.execute(text, params)).fetchall()
    for _ in range(2):  # prepared now, and before
        assert await run_together(session, [(text, params)]) == [expected]


async def test_one_statement_takes_values_of_several_types(session: PreparingConnection) -> None:
    text = b"SELECT %(value)s::bigint AS value"
    for value in (1, 2**40, None, 70_000, 1):
        assert await run_together(session, [(text, {"value": value})]) == [[{"value": value}]]


@pytest.mark.parametrize(
    ("refused", "error"),
    [(DIVIDE, psycopg.errors.DivisionByZero), (NO_TABLE, psycopg.errors.UndefinedTable)],
)
async def test_what_was_not_prepared_because_of_an_error_before_it_is_prepared_later(
    session: PreparingConnection, refused: Text, error: type[Exception]
) -> None:
    for _ in range(2):
        with pytest.raises(error):
            await run_together(session, [refused, ONE, refused])
    assert await run_together(session, [ONE]) == [[{"one": 1}]]


async def test_a_statement_whose_result_has_other_columns_now_fails_once(
    session: PreparingConnection,
) -> None:
    def everything() -> Text:
        return (b"SELECT * FROM changed", {})

    await run_together(session, [(b"CREATE TEMP TABLE changed AS SELECT 1 AS a", {})])
    assert await run_together(session, [everything()]) == [[{"a": 1}]]
    await run_together(session, [(b"ALTER TABLE changed ADD COLUMN b integer", {})])
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        await run_together(session, [everything()])
    assert await run_together(session, [everything()]) == [[{"a": 1, "b": None}]]


async def test_statements_beyond_the_limit_are_not_prepared(
    session: PreparingConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_trip, "MAX_PREPARED", 1)
    other: Text = (b"SELECT %(value)s::text AS value", {"value": "x"})
    for _ in range(2):
        assert await run_together(session, [ONE, other]) == [[{"one": 1}], [{"value": "x"}]]
    assert len(session.prepared) == 1


async def test_a_session_is_closed_if_a_statement_is_refused_while_others_are_in_the_buffer(
    session: PreparingConnection,
) -> None:
    """Else the next answers would be taken for those of other statements."""
    names = [f"p{number}" for number in range(MAX_PARAMETERS + 1)]
    text = "SELECT " + ", ".join(f"%({name})s::text" for name in names)
    with pytest.raises(psycopg.OperationalError):
        await run_together(session, [ONE, (text.encode(), dict.fromkeys(names))])
    assert session.closed


async def test_a_percent_sign_is_doubled(session: PreparingConnection) -> None:
    assert await run_together(session, [(b"SELECT 7 %% 4 AS rest", {})]) == [[{"rest": 3}]]
    for wrong in (b"SELECT 7 % 4", b"SELECT %(a)d", b"SELECT %s"):
        with pytest.raises(ValueError, match="neither"):
            await run_together(session, [(wrong, {"a": 1})])
    assert await run_together(session, [ONE]) == [[{"one": 1}]]


def test_every_statement_of_the_product_is_read() -> None:
    for text in QUERIES.values():
        round_trip._parse(text)
