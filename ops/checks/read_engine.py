"""Read Hasura: that it answers, its metadata, and what it says of its source. Every reader is one request."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ops.checks.services import Services
from ops.clients.plain_http import ask
from ops.failures import WrongUsage
from ops.metadata.pieces import Json, Key, pieces_of_step, split
from ops.metadata.source import (
    CATALOG,
    HAS_CATALOG,
    INSERT,
    RIGHTS,
    TRIGGERS,
)

VARIABLE = re.compile(r'\{\{\s*(\w+)\s*\}\}|"value_from_env": "(\w+)"')
NO_SOURCE = (
    "The engine has no source: its metadata was cleared. Apply Diva's metadata first, which has the source "
    "and Diva's tables, then run this again."
)


@dataclass(frozen=True, slots=True)
class EngineLook:
    """The version of the engine, and how long it took to answer."""

    version: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Metadata:
    """The engine's metadata as a whole and in pieces, and our directory."""

    whole: Json
    held: Mapping[Key, Any]
    own: Json

    def wanted(self, step: str) -> dict[Key, Any]:
        """Return our pieces after a step."""
        return pieces_of_step(self.own, "default", step)


def held_pieces(metadata: Json, source: str) -> dict[Key, Any]:
    """Return the pieces of an engine's metadata. Raises WrongUsage if it does not have the source."""
    try:
        return split(metadata, source)
    except KeyError as error:
        names = ", ".join(each["name"] for each in metadata.get("sources", []))
        text = f"The engine has no source {source!r}. Choose one with --source: {names}"
        raise WrongUsage(text if names else NO_SOURCE) from error


def read_version(services: Services) -> EngineLook:
    """Ask for the version of the engine."""
    started = time.monotonic()
    return EngineLook(services.engine.version(), time.monotonic() - started)


def read_clock(services: Services) -> datetime | None:
    """Return the time of the engine's machine, as its answers have it."""
    url = services.need("HASURA_URL", services.settings.hasura_url)
    return ask(f"{url}/healthz", timeout_seconds=services.request_seconds).date


def read_metadata(services: Services) -> Metadata:
    """Export the metadata. Raises WrongUsage if the engine does not have the source."""
    whole, _ = services.engine.export()
    return Metadata(whole, held_pieces(whole, services.source), services.own)


def read_inconsistencies(services: Services) -> dict[str, str]:
    """Ask for the inconsistent objects, of others too."""
    return services.engine.inconsistencies()


def read_configuration(services: Services) -> Json:
    """Ask for what the console asks first: naming convention, allow list and the like."""
    return services.engine.configuration()


def read_sql_triggers(services: Services) -> dict[tuple[str, str], bool]:
    """Return whether each SQL trigger of Hasura is on, by table and name."""
    rows = services.engine.run_sql(TRIGGERS, services.source)
    return {(table, name): is_on == "t" for table, name, is_on in rows}


def read_schedule(services: Services) -> dict[str, int | None]:
    """Count the scheduled events of each of our crons; None of one that is inconsistent."""
    return services.engine.future_events([each["name"] for each in services.own["cron_triggers"]])


def read_missing_variables(services: Services) -> list[str]:
    """Return the variables of our metadata that the engine's environment lacks."""
    pieces = pieces_of_step(services.own, "default", "9b")
    found = VARIABLE.findall(json.dumps(list(pieces.values())))
    return services.engine.missing_variables(sorted({"".join(names) for names in found}))


def read_catalog(services: Services) -> str:
    """Return the version of the tables that Hasura keeps in the source; empty without them."""
    if services.engine.run_sql(HAS_CATALOG, services.source) != [["t"]]:
        return ""
    return services.engine.run_sql(CATALOG, services.source)[0][0]


def read_refused_insert(services: Services) -> str:
    """Return what refuses a lead that is stored as the handlers do, and undone; empty if nothing does.

    An engine whose role may not take that of the handlers is asked for their rights in the catalog instead.
    """
    refusal = services.engine.run_sql(INSERT, services.source, read_only=False)[0][0]
    if "permission denied to set role" not in refusal:
        return refusal
    has_rights = services.engine.run_sql(RIGHTS, services.source) == [["t"]]
    return "" if has_rights else "a right on hdb_catalog is missing"
