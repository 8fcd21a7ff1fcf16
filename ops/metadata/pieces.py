"""Metadata as named pieces, each with one owner, that can be applied, removed and compared alone.

Settings, the database connection of a source and other sources are pieces too, so that the pieces together
are the whole metadata and a comparison covers all of it.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ops.metadata.directory import parse
from ops.output import Changes, differences, text_of

Json = dict[str, Any]
Key = tuple[str, str]
"""Kind and name of a piece."""

KINDS = parse(Path(__file__).with_name("kinds.yaml"))
LISTS, TYPES, SOURCE_LISTS, DEFAULTS = (KINDS[name] for name in ("lists", "types", "of_source", "defaults"))
OPAQUE, UNORDERED = set(KINDS["opaque"]), set(KINDS["unordered"])
CRON = "cron trigger"
EMPTY: tuple[Any, ...] = (None, "", [], {})

OUR_ADDRESS = "{{HANDLERS_URL}}"
OUR_TABLES = ("pancake", "integration_change")
"""One of these is in the name of each of the integration's tables and views."""

NAMING = ("name", "role")
"""The keys that name an item of a list: of columns' relationships, triggers and headers, of permissions."""

ADDRESSES = ("webhook", "handler")
OTHER_ADDRESS = "Hasura calls another address than the handlers"

ACTION, ROLE = "sendNotifications", "pancake_service"
"""Diva's action, and the role for which the handlers need the permission."""
OF_DIVA: Key = ("action", ACTION)
PERMISSION: Key = ("action permission", f"{ACTION} for {ROLE}")
"""In the record of what is applied: we gave the permission, so we take it back."""

HIDDEN = "(hidden)"
TRANSFORMS = ("request_transform", "response_transform")
"""They may write headers."""


def split(metadata: Json, source: str) -> dict[Key, Any]:
    """Return every piece of the metadata. Raises KeyError if it has no such source."""
    lists = _lists(metadata, source)
    pieces: dict[Key, Any] = {
        (kind, _name(item, naming)): item
        for owner, name, kind, naming in lists
        for item in owner.get(name, [])
    }
    shared = _source(metadata, source)
    pieces["source settings", source] = {k: v for k, v in shared.items() if k not in SOURCE_LISTS}
    others = (each for each in metadata["sources"] if each["name"] != source)
    pieces.update({("source", each["name"]): each for each in others})
    taken = {*LISTS, "custom_types", "sources", "version"}
    pieces.update({("setting", name): value for name, value in metadata.items() if name not in taken})
    return pieces


def pieces_of_step(own: Json, source: str, step: str) -> dict[Key, Any]:
    """Return our pieces after a step: 9a comes without the cron triggers."""
    left_out = {"source settings", "setting"} if step == "9b" else {"source settings", "setting", CRON}
    return {key: piece for key, piece in split(own, source).items() if key[0] not in left_out}


def put(metadata: Json, source: str, wanted: Mapping[Key, Any], unwanted: set[Key]) -> Json:
    """Return a copy with the wanted pieces added or replaced, and the unwanted ones removed."""
    changed = copy.deepcopy(metadata)
    changed.setdefault("custom_types", {})
    for owner, name, kind, naming in _lists(changed, source):
        items = [item for item in owner.get(name, []) if (kind, _name(item, naming)) not in unwanted]
        left = {key: piece for key, piece in wanted.items() if key[0] == kind}
        items = [left.pop((kind, _name(item, naming)), item) for item in items]
        items.extend(left.values())
        if items or name in owner:
            owner[name] = items
    if not any(changed["custom_types"].values()):
        del changed["custom_types"]
    return changed


def _lists(metadata: Json, source: str) -> Iterator[tuple[Json, str, str, str]]:
    """Yield owner, key, kind and naming key of each list that holds pieces."""
    for name, (kind, naming) in LISTS.items():
        yield metadata, name, kind, naming
    for name, kind in TYPES.items():
        yield metadata.get("custom_types", {}), name, kind, "name"
    for name, (kind, naming) in SOURCE_LISTS.items():
        yield _source(metadata, source), name, kind, naming


def _name(item: Json, naming: str) -> str:
    """Return the name of an item, of a table or function `schema.name`."""
    name = item[naming]
    if isinstance(name, dict):
        return f"{name.get('schema', 'public')}.{name['name']}"
    return f"public.{name}" if naming in ("table", "function") else str(name)


def _source(metadata: Json, name: str) -> Json:
    for source in metadata.get("sources", []):
        if source["name"] == name:
            return source  # type: ignore[no-any-return]
    raise KeyError(name)


def normal(value: Any, key: str = "") -> Any:
    """Return the value without defaults and with its unordered lists sorted."""
    if key in OPAQUE and not (key == "payload" and isinstance(value, list)):
        return value
    if isinstance(value, dict):
        kept = {name: normal(item, name) for name, item in value.items() if name != "ignored_client_headers"}
        return {
            name: item
            for name, item in kept.items()
            if item not in EMPTY and not (name in DEFAULTS and item == DEFAULTS[name])
        }
    if isinstance(value, list):
        items = [normal(item) for item in value]
        return sorted(items, key=_text) if key in UNORDERED or key == "payload" else items
    return value


def same(left: Any, right: Any) -> bool:
    return _text(normal(left)) == _text(normal(right))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def is_allowed(pieces: Mapping[Key, Any]) -> bool:
    permissions = pieces.get(OF_DIVA, {}).get("permissions") or []
    return any(each["role"] == ROLE for each in permissions)


def foreign(wanted: Mapping[Key, Any], held: Mapping[Key, Any], recorded: Mapping[Key, Any]) -> list[str]:
    """List the pieces of other applications that have our names or addresses, each with the reason.

    A piece that we applied, or that equals the one we would apply, belongs to the integration.
    """
    reasons = [
        f"{key[0]} {key[1]} exists and belongs to another application"
        for key, piece in wanted.items()
        if key in held
        and key not in recorded
        and not same(piece, held[key])
        and not _looks_ours(key, piece, held[key], held)
    ]
    urls = {piece["url"]: key for key, piece in wanted.items() if key[0] == "REST endpoint"}
    triggers = {name: key for key, piece in wanted.items() for name in _triggers(piece)}
    for key, piece in held.items():
        if key[0] == "REST endpoint" and urls.get(piece["url"], key) != key:
            reasons.append(f"the path {piece['url']} belongs to the REST endpoint {key[1]}")
        for name in _triggers(piece) if key[0] == "table" else []:
            if triggers.get(name, key) != key:
                reasons.append(f"the event trigger {name} exists on table {key[1]}")
    return reasons


def drift(
    wanted: Mapping[Key, Any], held: Mapping[Key, Any], recorded: Mapping[Key, Any] | None
) -> list[Key]:
    """List our pieces that were changed on the engine since we applied them.

    Without a record, a piece that differs from the one we want counts as changed. One that is missing does
    not: putting it back overwrites nothing.
    """
    before = wanted if recorded is None else recorded
    return [
        key
        for key in before
        if key in held
        and not same(before[key], held[key])
        and not (key in wanted and same(wanted[key], held[key]))
    ]


def _looks_ours(key: Key, piece: Any, other: Any, held: Mapping[Key, Any]) -> bool:
    kind, name = key
    if kind == "table":
        return any(word in name for word in OUR_TABLES)
    if kind == "action":
        return str(other["definition"].get("handler", "")).startswith(OUR_ADDRESS)
    if kind == CRON:
        return str(other.get("webhook", "")).startswith(OUR_ADDRESS)
    if kind == "query collection":
        return bool(_queries(piece) & _queries(other))
    if kind == "REST endpoint":
        return bool(piece["url"] == other["url"])
    if kind in TYPES.values():
        return any(
            k == "action" and OUR_ADDRESS in json.dumps(p) and name in json.dumps(p)
            for (k, _), p in held.items()
        )
    return False


def _queries(collection: Any) -> set[str]:
    return {query["name"] for query in collection["definition"]["queries"]}


def _triggers(piece: Any) -> list[str]:
    return [each["name"] for each in piece.get("event_triggers", [])] if isinstance(piece, dict) else []


def changed_places(wanted: Any, held: Any) -> Iterator[tuple[str, Any, Any]]:
    """Return path, our value and the engine's value of what differs; of equal parts nothing."""
    for path, *values in differences({"": _named(normal(wanted))}, {"": _named(normal(held))}):
        yield path.lstrip("."), *values


def describe_places(wanted: Any, held: Any) -> str:
    """Return the paths of what differs; those with one meaning stand together before it.

    Values are left out: a header of the engine may hold a secret.
    """
    found: dict[str, list[str]] = {}
    for place, _, theirs in changed_places(wanted, held):
        meaning = _meaning(place, theirs)
        found.setdefault(f" ({meaning})" if meaning else "", []).append(place)
    return "; ".join(
        f"{(', ' if meaning else '; ').join(places)}{meaning}" for meaning, places in found.items()
    )


def _meaning(place: str, theirs: Any) -> str | None:
    key = place.rpartition(".")[2]
    if theirs is None:
        explained: str | None = KINDS["explained"].get(key)
        return explained
    of_leads = ": no lead is processed" if place.startswith("event_triggers.") else ""
    return f"{OTHER_ADDRESS}{of_leads}" if key in ADDRESSES else None


def differing(here: Mapping[Key, Any], there: Mapping[Key, Any]) -> dict[Key, str]:
    """Return how the pieces of two engines differ, of those that do."""
    found = dict.fromkeys(here.keys() - there.keys(), "only here")
    found |= dict.fromkeys(there.keys() - here.keys(), "only there")
    found |= {key: "differs" for key in here.keys() & there.keys() if not same(here[key], there[key])}
    return dict(sorted(found.items()))


def _named(value: Any) -> Any:
    """Return a value with each list of named items as an object by name."""
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    for key in NAMING:
        if value and all(isinstance(item, dict) and key in item for item in value):
            return {str(item[key]): _named(item) for item in value}
    return [_named(item) for item in value]


@dataclass(frozen=True)
class Change:
    """One of our objects that differs. `before` is on the engine, `after` in our directory; None: none."""

    key: Key
    before: Any
    after: Any

    @property
    def kind(self) -> str:
        """`added`, `removed` or `changed`: what a step does with the object."""
        return "added" if self.before is None else "removed" if self.after is None else "changed"

    def places(self) -> Iterator[tuple[str, Any, Any]]:
        """Yield path, value before and value after of what was changed, without what may be a secret."""
        if self.kind != "changed":
            return
        for place, after, before in changed_places(self.after, self.before):
            yield place, shown(before, place), shown(after, place)

    def shown_places(self) -> Changes:
        """Return the change for people: before and after of each place, the engine's value first."""
        if self.kind != "changed":
            was = "missing" if self.kind == "added" else "of a former version"
            return [("on the engine", was, self.kind)]
        return [(path, text_of(before), text_of(after)) for path, before, after in self.places()]

    def document(self) -> Json:
        places = [{"path": path, "before": before, "after": after} for path, before, after in self.places()]
        return {"kind": self.key[0], "name": self.key[1], "change": self.kind, "places": places}


def find_changes(
    wanted: Mapping[Key, Any], held: Mapping[Key, Any], gone: Set[Key] = frozenset()
) -> list[Change]:
    """List our objects that are missing or differ, and those of `gone`, which are to be removed."""
    changes = [
        Change(key, held.get(key), piece)
        for key, piece in wanted.items()
        if key not in held or not same(piece, held[key])
    ]
    return changes + [Change(key, held[key], None) for key in sorted(gone) if key in held]


def shown(value: Any, path: str = "") -> Any:
    """Return a value without what may be a secret: the value of a header, and of a URL all but the host."""
    names = path.split(".")
    if value is not None and (("headers" in names and names[-1] == "value") or {*names} & {*TRANSFORMS}):
        return HIDDEN
    if isinstance(value, dict):
        hidden = (*TRANSFORMS, "value") if "name" in value else TRANSFORMS
        return {key: HIDDEN if key in hidden else shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shown(item) for item in value]
    if isinstance(value, str) and "://" in value:
        return _without_path(value)
    return value


def _without_path(url: str) -> str:
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.hostname}/…" if parts.hostname else HIDDEN
    except ValueError:
        return HIDDEN
