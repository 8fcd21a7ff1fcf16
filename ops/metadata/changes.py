"""Where the engine's metadata differs from our directory, object by object."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ops.metadata.detail import changed_places
from ops.metadata.normal import same
from ops.metadata.pieces import Json, Key
from ops.output import ChangeBlock, text_of

HIDDEN = "(hidden)"
TRANSFORMS = ("request_transform", "response_transform")
"""They may write headers."""


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
        for path, after, before in changed_places(self.after, self.before):
            place = path.lstrip(".")
            yield place, shown(before, place), shown(after, place)

    def block(self) -> ChangeBlock:
        """Return the change for people: before and after of each place, the engine's value first."""
        title = " ".join(self.key)
        if self.kind == "added":
            return ChangeBlock(title, [("on the engine", "missing", "added")])
        if self.kind == "removed":
            return ChangeBlock(title, [("on the engine", "of a former version", "removed")])
        places = [(path, text_of(before), text_of(after)) for path, before, after in self.places()]
        return ChangeBlock(title, places)

    def document(self) -> Json:
        """Return the change as JSON."""
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
