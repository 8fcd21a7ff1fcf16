"""Look, before anything is changed, for what would keep our metadata from working on an engine."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ops.metadata import source as database
from ops.metadata.checks import find_stopped_calls
from ops.metadata.engine import Engine
from ops.metadata.permission import OF_DIVA, find_missing_permission
from ops.metadata.pieces import Json, Key

MIN_VERSION = (2, 50, 6)
"""Of 2.48 no patch, and of 2.49 none before 2.49.2, mends CVE-2026-54698; 2.50.1 has the switches that keep
customers' data out of the log; a database that 2.50 has used refuses earlier engines."""

VARIABLE = re.compile(r'\{\{\s*(\w+)\s*\}\}|"value_from_env": "(\w+)"')


Check = Callable[[], Iterable[str]]
"""Lists obstacles in words. Raises MetadataError."""


def obstacle_checks(
    engine: Engine, metadata: Json, source: str,
    wanted: Mapping[Key, Any], held: Mapping[Key, Any], accepted: str = "",
) -> Mapping[str, Check]:  # fmt: skip
    """Return the checks by name; `accepted` is an old engine version that the operator takes.

    A step makes them one after the other; `leads doctor` makes them at the same time.
    """
    kept = {key: held[key] for key in wanted if key in held}
    return {
        "engine version": lambda: find_old_version(engine, accepted),
        "naming": lambda: _find_other_names(engine, metadata, source),
        "catalog": lambda: database.find_old_catalog(engine, source),
        "variables": lambda: _find_missing_variables(engine, wanted),
        "rights": lambda: database.find_missing_rights(engine, source),
        "allow list": lambda: find_stopped_calls(engine, dict.fromkeys(_entries(wanted)), wanted),
        "notifications": lambda: [] if OF_DIVA in held else find_missing_permission(held),
        "event trigger": lambda: database.find_missing_triggers(engine, source, kept),
    }


def describe_allow_list(engine: Engine, wanted: Mapping[Key, Any], held: Mapping[Key, Any]) -> str:
    """Say that the allow list stops our calls until a step has added our entries; empty if it does not."""
    missing = [name for kind, name in _entries(wanted) if (kind, name) not in held]
    if not missing or not engine.has_allow_list():
        return ""
    return (
        f"The engine's allow list is on, without our entries: {', '.join(missing)}. This step adds them; "
        "until then Hasura refuses the calls of edge and handlers."
    )


def _entries(wanted: Mapping[Key, Any]) -> list[Key]:
    """Return the entry in the allow list that each of our collections needs."""
    return [("allow-list entry", name) for kind, name in wanted if kind == "query collection"]


def find_old_version(engine: Engine, accepted: str) -> Iterator[str]:
    """Say if the engine is too old; `accepted` is a version that the operator takes. Raises MetadataError."""
    found = engine.version()
    numbers = re.match(r"v?(\d+)\.(\d+)\.(\d+)", found)
    if found == accepted or (numbers and tuple(map(int, numbers.groups())) >= MIN_VERSION):
        return
    oldest = ".".join(map(str, MIN_VERSION))
    yield f"the engine is {found}: v{oldest} or later is needed (or --accept-engine {found})"


def _find_other_names(engine: Engine, metadata: Json, source: str) -> Iterator[str]:
    """Our stored queries use the names that Hasura gives by default."""
    (of_source,) = (each for each in metadata["sources"] if each["name"] == source)
    custom = of_source.get("customization") or {}
    default = engine.configuration().get("default_naming_convention") or "hasura-default"
    convention = custom.get("naming_convention") or default
    if convention != "hasura-default":
        yield f"the naming convention is {convention}: our stored queries need hasura-default"
    for part in ("root_fields", "type_names"):
        for kind, text in (custom.get(part) or {}).items():
            if text:
                yield f"the source gives {part} the {kind} {text!r}: our stored queries have names without it"


def _find_missing_variables(engine: Engine, wanted: Mapping[Key, Any]) -> Iterator[str]:
    """Say which variables of our metadata the engine's environment lacks."""
    names = sorted({"".join(found) for found in VARIABLE.findall(json.dumps(list(wanted.values())))})
    for name in engine.missing_variables(names):
        yield f"the engine has no environment variable {name}: set it and restart the engine"
