"""Which database, engine and edge evidence and gates are of."""

import json
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import urlsplit

from ops.clients.db_session import QUERIES, DatabaseError, DbSession
from ops.golive.criterion import WAVES
from ops.golive.records import Kind, Record, Records, newest
from ops.settings import OperatorSettings

INSTALLATION_FILE = "installation.json"
"""Evidence of the beginning of a wave."""


def load_installation(session: DbSession, settings: OperatorSettings) -> dict[str, str]:
    """Return what tells an installation from others: the database's own identifier, and two addresses.

    What is not known is empty.
    """
    try:
        (row,) = session.execute(QUERIES["golive/load_installation"]).fetchall()
    except DatabaseError:
        row = {"name": ""}
    addresses = {"engine": settings.hasura_url, "edge": settings.public_url}
    return {"database": row["name"], **{name: urlsplit(url).netloc for name, url in addresses.items()}}


def first_installation(files: Records, records: tuple[Record, ...], at: datetime) -> Mapping[str, str]:
    """Return the installation with which W1 began; empty if it has not. Raises RecordsError."""
    begun = newest(records, Kind.BEGIN, WAVES[0], at)
    kept = [each for each in begun.evidence if each.name == INSTALLATION_FILE] if begun else []
    return json.loads(files.read_evidence(kept[0])) if kept else {}
