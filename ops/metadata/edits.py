"""Insert and remove parts of a project's files as lines of text; every other byte stays as it is.

Items of YAML lists, definitions of `actions.graphql`, and the permission for Diva's `sendNotifications`. Each
function raises CannotEdit for a text in a form that it cannot edit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from ops.metadata.directory import CUSTOM_TYPES, has_actions
from ops.metadata.pieces import ACTION, ROLE

EXPORT_FIRST = (
    "Nothing was changed. Export the project first: `hasura metadata export` writes it in the CLI's form."
)
EMPTY_LIST = "[]\n"

Place = str | tuple[str, str]
"""A key of an object, or key and value of the list item that has them."""

SENDING = ("actions", ("name", ACTION))
PERMISSIONS, DEFINITION = (*SENDING, "permissions"), (*SENDING, "definition")

ACTION_RANK = 0
"""Custom types stand behind the actions, in the order of CUSTOM_TYPES."""


class CannotEdit(Exception):
    """The text has a form that lines cannot change; the message does not name its file."""


@dataclass(frozen=True)
class Item:
    """One item: what its keys hold (`text` alone for an item that is a string), and its lines."""

    keys: dict[str, str]
    start: int
    end: int
    """Behind its last line of content; comments and empty lines before the next item are not its own."""


@dataclass(frozen=True)
class FoundList:
    """A list in a text, with start and end of its `[]` if it is empty."""

    items: tuple[Item, ...]
    indent: int
    brackets: tuple[int, int] = (0, 0)

    def find(self, key: str, value: str) -> Item | None:
        return next((item for item in self.items if item.keys.get(key) == value), None)


def newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def find_list(text: str, path: Sequence[Place]) -> FoundList:
    """Return the list at a path, which must be there."""
    found = find(text, path)
    if found is None:
        raise CannotEdit(f"{_shown(path)} is missing. {EXPORT_FIRST}")
    key, node = found
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
        raise CannotEdit(f"{_shown(path)} holds nothing: a list without items is `[]`. {EXPORT_FIRST}")
    if isinstance(node, yaml.SequenceNode) and not node.value:
        start = node.start_mark.index
        if path or not text[line_start(text, start) : start].strip():
            return FoundList((), key.start_mark.column if key else 0, (start, node.end_mark.index))
    if not isinstance(node, yaml.SequenceNode) or node.flow_style:
        raise CannotEdit(f"{_shown(path)} is not a list with a line for each item. {EXPORT_FIRST}")
    starts = [_dash(text, item) for item in node.value]
    indent = len(text[starts[0] :]) - len(text[starts[0] :].lstrip(" "))
    items = (
        Item(_keys(item), start, content_end(text, start, indent))
        for item, start in zip(node.value, starts, strict=True)
    )
    return FoundList(tuple(items), indent)


def find(text: str, path: Sequence[Place]) -> tuple[yaml.Node | None, yaml.Node | None] | None:
    """Return the node at a path, behind the node of the last key; None if a key or an item is missing."""
    key: yaml.Node | None = None
    try:
        node = _compose(text)
    except yaml.YAMLError as error:
        raise CannotEdit(f"not valid YAML: {error}") from error
    for depth, place in enumerate(path):
        if isinstance(node, yaml.CollectionNode) and node.flow_style and node.value:
            what = "key" if isinstance(node, yaml.MappingNode) else "item"
            raise CannotEdit(f"{_shown(path[:depth])} has no line for each {what}. {EXPORT_FIRST}")
        if isinstance(place, str):
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            key, node = next((pair for pair in pairs if pair[0].value == place), (None, None))
            if key is None:
                return None
        else:
            items = node.value if isinstance(node, yaml.SequenceNode) else []
            node = next((item for item in items if _keys(item).get(place[0]) == place[1]), None)
            if node is None:
                return None
    return key, node


@lru_cache(maxsize=32)
def _compose(text: str) -> yaml.Node | None:
    """Parsing is slow, and an edit looks at the same text several times."""
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _dash(text: str, node: yaml.Node) -> int:
    """Return the start of the line that begins an item."""
    start = line_start(text, node.start_mark.index)
    if not text[start : node.start_mark.index].lstrip(" ").startswith("- "):
        line = node.start_mark.line + 1
        raise CannotEdit(f"line {line} does not begin with `- ` and a key. {EXPORT_FIRST}")
    return start


def line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def content_end(text: str, start: int, indent: int) -> int:
    """Return the end of a key or an item: of its first line, and of those after it that are indented more."""
    end = position = start
    for line in text[start:].splitlines(keepends=True):
        depth = len(line) - len(line.lstrip(" "))
        if line.strip() and (depth > indent or position == start):
            end = position + len(line)
        elif line.strip() and not line.lstrip().startswith("#"):
            break
        position += len(line)
    return end


def _keys(node: yaml.Node) -> dict[str, str]:
    if isinstance(node, yaml.ScalarNode):
        return {"text": str(node.value)}
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {str(key.value): str(value.value) for key, value in pairs if isinstance(value, yaml.ScalarNode)}


def _shown(path: Sequence[Place]) -> str:
    return ".".join(place if isinstance(place, str) else place[1] for place in path) or "the file"


def block(text: str, item: Item, indent: int) -> str:
    """Return the lines of an item, without its indent."""
    return "".join(line[indent:] for line in text[item.start : item.end].splitlines(keepends=True))


def insert_item(text: str, path: Sequence[Place], lines: str, sorting: str | None) -> str:
    """Insert an item before the first one that sorts after it by the key `sorting`; at the end without one.

    `lines` have no indent and end with a line feed.
    """
    found = find_list(text, path)
    ending = newline(text)
    if not found.items:
        return _fill(text, found, lines, is_file=not path)
    (new,) = find_list(lines, ()).items
    later = (n for n, item in enumerate(found.items) if sorting and not _sorts_before(item, new, sorting))
    number = next(later, len(found.items))
    position = found.items[number - 1].end if number else _before_comments(text, found.items[0].start)
    added = _indented(lines, found.indent, ending)
    if position and text[position - 1] != "\n":
        added = ending + added.removesuffix(ending)
    return text[:position] + added + text[position:]


def _sorts_before(item: Item, other: Item, key: str) -> bool:
    return item.keys.get(key, "").removesuffix(".yaml") < other.keys.get(key, "").removesuffix(".yaml")


def _indented(lines: str, indent: int, ending: str) -> str:
    return "".join(f"{' ' * indent}{line}{ending}" for line in lines.splitlines())


def _before_comments(text: str, position: int) -> int:
    while position:
        above = line_start(text, position - 1)
        if not text[above:position].lstrip().startswith("#"):
            break
        position = above
    return position


def _fill(text: str, found: FoundList, lines: str, *, is_file: bool) -> str:
    """Put the first item in the place of `[]`; a comment on its line goes above it."""
    ending = newline(text)
    start, end = found.brackets
    line, _, tail = text[end:].partition("\n")
    head, comment = text[:start].rstrip(" "), line.rstrip()
    if not is_file:
        head += f"{comment}{ending}"
    elif comment:
        head += f"{comment.lstrip()}{ending}"
    return head + _indented(lines, 0 if is_file else found.indent + 2, ending) + tail


def remove_item(text: str, path: Sequence[Place], key: str, value: str) -> str:
    """Remove the item whose `key` holds `value`, if the list has it. The last one leaves `[]`."""
    found = find_list(text, path)
    if (item := found.find(key, value)) is None:
        return text
    head, tail = text[: item.start], text[item.end :]
    if len(found.items) > 1:
        return _without_last_feed(head, text, tail) + tail
    if not path:
        return f"{head}[]{newline(text)}{tail}"
    after = text.index(":", _key(text, path).end_mark.index) + 1
    return f"{text[:after]} []{text[after : item.start]}{tail}"


def _key(text: str, path: Sequence[Place]) -> yaml.Node:
    """Return the node of the last key of a path that is there."""
    key, _ = find(text, path) or (None, None)
    assert key is not None
    return key


def _without_last_feed(head: str, text: str, tail: str) -> str:
    """Return what is left before a removed end of the text, which has a line feed at its end or none."""
    return head if tail or text.endswith("\n") else head.removesuffix("\n").removesuffix("\r")


@dataclass(frozen=True)
class Definition:
    """One definition: the names of its actions, or that of its custom type."""

    names: tuple[str, ...]
    rank: int
    start: int
    end: int
    """Behind its last character, and behind a comment on that line."""


def find_definitions(text: str) -> list[Definition]:
    """Return the definitions of `actions.graphql` in their order."""
    from graphql import GraphQLSyntaxError, parse

    if not text.strip():
        return []
    try:
        return [_definition(text, node) for node in parse(text).definitions]
    except GraphQLSyntaxError as error:
        raise CannotEdit(str(error)) from error


def _definition(text: str, node: Any) -> Definition:
    end = node.loc.end
    rest = text[end:].partition("\n")[0].rstrip()
    if rest.lstrip().startswith("#"):
        end += len(rest)
    name = node.name.value
    if has_actions(node):
        names = tuple(field.name.value for field in node.fields or ())
        return Definition(names, ACTION_RANK, node.loc.start, end)
    kinds = list(CUSTOM_TYPES)
    rank = kinds.index(node.kind) if node.kind in kinds else len(kinds)
    return Definition((name,), ACTION_RANK + 1 + rank, node.loc.start, end)


def insert_definition(text: str, lines: str) -> str:
    """Insert one definition: an action by its name, a custom type behind the others of its kind."""
    ending = newline(text)
    lines = lines.strip().replace("\n", ending)
    (new,) = find_definitions(lines)
    others = find_definitions(text)
    behind = max((n + 1 for n, other in enumerate(others) if other.rank <= new.rank), default=0)
    later = (n for n, other in enumerate(others) if other.rank == ACTION_RANK and other.names[:1] > new.names)
    number = next(later, behind) if new.rank == ACTION_RANK else behind
    if number:
        position = others[number - 1].end
        return f"{text[:position]}{ending * 2}{lines}{text[position:]}"
    position = _before_comments(text, others[0].start) if others else len(text)
    return f"{text[:position]}{lines}{ending * 2}{text[position:]}"


def remove_definition(text: str, name: str, *, is_action: bool) -> str:
    """Remove a definition, if the text has it, with the empty line that separates it."""
    found = find_definitions(text)
    for number, each in enumerate(found):
        if name not in each.names or (each.rank == ACTION_RANK) is not is_action:
            continue
        if len(each.names) > 1:
            others = ", ".join(other for other in each.names if other != name)
            raise CannotEdit(f"{name} shares its `type` with {others}. {EXPORT_FIRST}")
        head, tail = text[: each.start], text[each.end :]
        if number and not head[found[number - 1].end :].strip():
            return head[: found[number - 1].end] + tail
        ending = newline(text)
        return head + tail.removeprefix(ending).removeprefix(ending)
    return text


def has_permission(text: str) -> bool:
    return find(text, PERMISSIONS) is not None and find_list(text, PERMISSIONS).find("role", ROLE) is not None


def add_permission(text: str) -> str:
    """Add our role to the permissions of Diva's action, which must be there."""
    if find(text, SENDING) is None:
        raise CannotEdit(
            f"the action {ACTION} is missing, with which the integration notifies. Nothing was changed."
        )
    if find(text, PERMISSIONS) is not None:
        return text if has_permission(text) else insert_item(text, PERMISSIONS, f"- role: {ROLE}\n", "role")
    if find(text, DEFINITION) is None:
        raise CannotEdit(f"{ACTION} has no definition. {EXPORT_FIRST}")
    mark = _key(text, DEFINITION).start_mark
    position = content_end(text, line_start(text, mark.index), mark.column)
    ending = newline(text)
    added = _indented(f"permissions:\n  - role: {ROLE}\n", mark.column, ending)
    if text[position - 1] != "\n":
        added = ending + added.removesuffix(ending)
    return text[:position] + added + text[position:]


def remove_permission(text: str) -> str:
    """Remove our role from the permissions of Diva's action, and the key with its last role."""
    if find(text, PERMISSIONS) is None:
        return text
    found = find_list(text, PERMISSIONS)
    item = found.find("role", ROLE)
    if item is None or len(found.items) > 1:
        return remove_item(text, PERMISSIONS, "role", ROLE)
    tail = text[item.end :]
    start = line_start(text, _key(text, PERMISSIONS).start_mark.index)
    return _without_last_feed(text[:start], text, tail) + tail
