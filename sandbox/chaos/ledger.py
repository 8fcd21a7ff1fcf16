"""The reckoning: every version that was posted against what the database holds in the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from sandbox.chaos.stream import Version

FINAL = ("processed", "dead_letter", "skipped_kill_switch", "skipped_source_disabled")

_ROWS = """
    SELECT record_id, to_char(modified_on AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), status
    FROM pancake_webhook_event
"""
_DOUBLED = """
    SELECT 'account ' || normalized_phone FROM account WHERE normalized_phone LIKE '+849%'
    GROUP BY normalized_phone HAVING count(*) > 1
    UNION ALL
    SELECT 'ticket of ' || (t.data -> 'pancake' ->> 'record_id') FROM ticket AS t
    WHERE t.source_id = 'ticket_source_pancake'
    GROUP BY t.data -> 'pancake' ->> 'record_id' HAVING count(*) > 1
"""
_TICKETS = """
    SELECT t.data -> 'pancake' ->> 'record_id', t.data -> 'pancake' ->> 'name' FROM ticket AS t
    WHERE t.source_id = 'ticket_source_pancake'
"""
_UNFINISHED = "SELECT count(*) FROM pancake_webhook_event WHERE status <> ALL (%s)"


@dataclass
class Ledger:
    """Ids by verdict; all lists empty is what a scenario wants."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    not_newest: list[str] = field(default_factory=list)


def unfinished(database_url: str) -> int:
    """Rows that are not in a final state yet."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(_UNFINISHED, [list(FINAL)]).fetchone()
        assert row is not None
        return int(row[0])


def reckon(database_url: str, posted: Sequence[Version]) -> Ledger:
    """Compare. A version is lost if no row has its record and time; a record's ticket must be its newest."""
    ledger = Ledger()
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(_ROWS).fetchall()
        ledger.duplicated = [str(row[0]) for row in connection.execute(_DOUBLED)]
        names = {str(record): name for record, name in connection.execute(_TICKETS)}
    held: dict[tuple[str, str], str] = {}
    for record, moment, status in rows:
        if (record, moment) in held:
            ledger.duplicated.append(f"{record}@{moment}")
        held[record, moment] = status
    newest: dict[str, Version] = {}
    for version in posted:
        key = (version.record_id, version.modified_on)
        if key not in held:
            ledger.lost.append("@".join(key))
        elif held[key] != "processed":
            ledger.unfinished.append(f"{version.record_id}@{version.modified_on}: {held[key]}")
        newest[version.record_id] = version
    ledger.not_newest = [
        f"{record}: {names.get(record)} instead of {version.name}"
        for record, version in newest.items()
        if names.get(record) != version.name
    ]
    return ledger
