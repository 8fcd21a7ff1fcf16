"""What identifies a record of a connection: its table and its id. Two tables may hold records of one id."""

from typing import NamedTuple

LEAD_TABLE = "lead"
OTHER_TABLES = ("account", "contact")
"""The other tables that Pancake documents."""


class TableRecord(NamedTuple):
    """A record of a connection; `table_name` is None for an event whose body named none."""

    table_name: str | None
    record_id: str


def may_be_in(table_name: str | None, listed_table: str) -> bool:
    """Whether an event of `table_name` may be of a record in the list of `listed_table`.

    Without a table it may be of any. A table that Pancake does not document counts as leads, as when it is
    processed.
    """
    if table_name is None or table_name == listed_table:
        return True
    return listed_table == LEAD_TABLE and table_name not in OTHER_TABLES
