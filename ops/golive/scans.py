"""How often large tables are read whole, and indexes are read, compared with the beginning of the wave."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from ops.clients.db_session import QUERIES, DbSession
from ops.golive.criterion import Criterion
from ops.golive.judgement import Measurement, Why
from ops.golive.measuring import Sources
from ops.golive.records import Kind

FILE = "scans.json"
SCANS_PER_HOUR = 1.0
"""What a backup and a person's query may cause; a statement that runs for every lead is far above it."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Numbers since the statistics began: how often tables were read whole, and indexes were read."""

    scans: Mapping[str, int]
    indexes: Mapping[str, int]


def load_scans(session: DbSession, *, all_indexes: bool = False) -> Counted:
    """Return the numbers of today, with those of indexes of small tables if wanted. Raises DatabaseError."""
    tables = session.execute(QUERIES["golive/load_scans"]).fetchall()
    indexes = session.execute(QUERIES["golive/load_index_scans"]).fetchall()
    return Counted(
        {row["name"]: row["seq_scan"] for row in tables},
        {row["name"]: row["idx_scan"] for row in indexes if all_indexes or row["is_large"]},
    )


def scans_file(session: DbSession, at: datetime) -> bytes:
    """Return what `scans_since_begin` compares with later, as JSON. Raises DatabaseError."""
    counted = load_scans(session, all_indexes=True)
    return json.dumps({"at": at.isoformat(), **asdict(counted)}).encode()


def scans_since_begin(sources: Sources, criterion: Criterion) -> Measurement:
    """Count what is wrong since the wave began.

    That is a large table that was read whole more than once an hour, and an index of a large table that was
    not read although leads came.
    """
    begun = [record for record in sources.records.read() if record.kind is Kind.BEGIN]
    kept = [each for each in begun[-1].evidence if each.name == FILE] if begun else []
    if not kept:
        return Measurement(why=Why.NO_DATA, problem="No wave has begun: leads golive begin W1 --by NAME")
    before = json.loads(sources.records.read_evidence(kept[0]))
    since = datetime.fromisoformat(before["at"])
    now = load_scans(sources.database())
    if not now.scans:
        return Measurement(why=Why.NO_DATA, problem="No table has more than 10,000 rows: none is compared.")
    hours = (datetime.now(UTC) - since) / timedelta(hours=1)
    found = growth(before["scans"], now.scans, hours)
    if _new_events(sources.database(), since):
        found += unread(before.get("indexes", {}), now.indexes)
    return Measurement(value=float(len(found)), details=", ".join(found))


def _new_events(session: DbSession, since: datetime) -> int:
    row = session.execute(QUERIES["golive/count_new_events"], {"from": since}).fetchone()
    return int(row["value"]) if row else 0


def growth(before: Mapping[str, int], now: Mapping[str, int], hours: float) -> list[str]:
    """Return the tables that were read whole more than SCANS_PER_HOUR, with the number.

    A table that was small before counts from 0. A lower number than before: the statistics began anew.
    """
    found = []
    for name, scans in now.items():
        old = before.get(name, 0)
        grown = scans - old if scans >= old else scans
        if grown > max(1.0, hours) * SCANS_PER_HOUR:
            found.append(f"{name}: {grown} times in {hours:.0f} h")
    return found


def unread(before: Mapping[str, int], now: Mapping[str, int]) -> list[str]:
    """Return the indexes that were not read since; a lower number than before: the statistics began anew."""
    return [f"{name}: never read" for name, scans in now.items() if scans in (0, before.get(name, 0))]
