"""The index that finds accounts without normalized_phone: on a large table no migration builds it."""

from ops.backfill_phones.limits import Stopped
from ops.clients.db_session import QUERIES, DbSession, InsufficientPrivilege
from ops.output import say

NEEDS_OWNER = (
    "The index account_phone_not_normalized_idx is missing, and only the owner of the table account may"
    " build it: run this once with the owner's DATABASE_URL"
)


def build_index(db_connection: DbSession) -> None:
    """Build the index unless it exists. Other sessions read and write meanwhile.

    A build that was interrupted leaves an invalid index, which is replaced. Raises DatabaseError; and Stopped
    for a role that does not own the table: PostgreSQL lets no other build an index.
    """
    found = db_connection.execute(QUERIES["backfill_phones/find_index"]).fetchone()
    if found is not None and found["is_valid"]:
        return
    say("Building account_phone_not_normalized_idx. Other sessions need not wait ...")
    try:
        if found is not None:
            db_connection.execute(QUERIES["backfill_phones/drop_index"])
        db_connection.execute(QUERIES["backfill_phones/create_index"])
    except InsufficientPrivilege as error:
        raise Stopped(NEEDS_OWNER) from error
