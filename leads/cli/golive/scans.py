"""How often the large tables are read whole, compared with the beginning of the wave."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from leads.adapters.db_session import DbSession
from leads.adapters.queries import QUERIES
from leads.cli.golive.criterion import Criterion
from leads.cli.golive.judgement import Measurement, Why
from leads.cli.golive.measuring import Sources
from leads.cli.golive.records import Kind

FILE = "scans.json"
SCANS_PER_HOUR = 1.0
"""What a backup and a person's query may cause; a statement that runs for every lead is far above it."""


def load_scans(session: DbSession) -> dict[str, int]:
    """Return how often each large table was read whole since the statistics began. Raises DatabaseError."""
    return {row["name"]: row["seq_scan"] for row in session.execute(QUERIES["golive/load_scans"])}


def scans_file(session: DbSession, at: datetime) -> bytes:
    """Return what `scans_since_begin` compares with later, as JSON. Raises DatabaseError."""
    return json.dumps({"at": at.isoformat(), "scans": load_scans(session)}).encode()


def scans_since_begin(sources: Sources, criterion: Criterion) -> Measurement:
    """Count the large tables that were read whole more than once an hour since the wave began."""
    begun = [record for record in sources.records.read() if record.kind is Kind.BEGIN]
    kept = [each for each in begun[-1].evidence if each.name == FILE] if begun else []
    if not kept:
        return Measurement(why=Why.NO_DATA, problem="No wave has begun: leads golive begin W1 --by NAME")
    before = json.loads(sources.records.read_evidence(kept[0]))
    hours = (datetime.now(UTC) - datetime.fromisoformat(before["at"])) / timedelta(hours=1)
    grown = growth(before["scans"], load_scans(sources.database()), hours)
    return Measurement(value=float(len(grown)), details=", ".join(grown))


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
