"""Read accounts in the order of their ids, without locks."""

from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

from ops.clients.db_session import QUERIES, DbSession, class_row

FIRST_ID = UUID(int=0)
_LAST_ID = UUID(int=2**128 - 1)


class Account(NamedTuple):
    """An account with a phone; `id` as text."""

    id: str
    phone_code: str | None
    phone_number: str


def next_id(account_id: str) -> UUID | None:
    """Return the smallest id after this one; None after the highest possible id."""
    value = UUID(account_id)
    return None if value == _LAST_ID else UUID(int=value.int + 1)


def read_batches(
    db_connection: DbSession, from_id: UUID | None, size: int
) -> Iterator[tuple[list[Account], UUID | None]]:
    """Yield batches of accounts without a normalized phone, each with the id to continue from."""
    while from_id is not None:
        with db_connection.cursor(row_factory=class_row(Account)) as cursor:
            cursor.execute(
                QUERIES["backfill_phones/list_accounts"],
                {"from_id": from_id, "limit": size},
                prepare=False,
            )
            rows = cursor.fetchall()
        from_id = next_id(rows[-1].id) if len(rows) == size else None
        if rows:
            yield rows, from_id


def count_accounts(db_connection: DbSession) -> dict[str, int]:
    """Return the counts with_phone, normalized, open, active and active_normalized."""
    row = db_connection.execute(QUERIES["backfill_phones/count_accounts"]).fetchone()
    assert row is not None
    return row
