"""Insert and remove parts of a project's files as lines of text; every other byte stays as it is.

Items of YAML lists, definitions of `actions.graphql`, and the permission for Diva's `sendNotifications`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import yaml
from graphql import (
    DefinitionNode,
    EnumTypeDefinitionNode,
    GraphQLSyntaxError,
    InputObjectTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    ObjectTypeExtensionNode,
    ScalarTypeDefinitionNode,
    parse,
)

from ops.failures import CommandFailed
from ops.metadata.directory import ROOTS
from ops.metadata.permission import ACTION, ROLE

EXPORT_FIRST = "Nothing was changed. Run `hasura metadata export`, which writes it in another form."

Step = str | tuple[str, str]
"""A key of an object, or key and value of the list item that has them."""

ACTION_RANK = 0
RANKS = (
    EnumTypeDefinitionNode,
    InputObjectTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
)
"""The order of custom types behind the actions, that of `custom_types` in `actions.yaml`."""

PATH = ("actions", ("name", ACTION))
PERMISSIONS = (*PATH, "permissions")


class ProjectRefused(CommandFailed):
    """The project cannot be edited. Nothing was changed; the message names the file or the piece."""


@dataclass(frozen=True)
class Item:
    """One item: what its keys hold (`text` alone for an item that is a string), and its lines."""

    keys: dict[str, str]
    start: int
    end: int
    """Behind its last line of content; comments and empty lines before the next item are not its own."""


@dataclass(frozen=True)
class FoundList:
    """A list in a text. An empty one is a gap: nothing at all or `[]`."""

    items: tuple[Item, ...]
    indent: int
    gap: tuple[int, int]

    def find(self, key: str, value: str) -> Item | None:
        return next((item for item in self.items if item.keys.get(key) == value), None)


@dataclass(frozen=True)
class Found:
    """A node in a text, with the indent of what holds it, and the position where that ends."""

    node: yaml.Node | None
    indent: int
    limit: int
    after: int = 0
    """Behind the colon of its key."""


def newline(text: str) -> str:
    """Return the line ending of a text."""
    return "\r\n" if "\r\n" in text else "\n"


def find_list(text: str, path: Sequence[Step], where: str) -> FoundList:
    """Return the list at a path. Raises ProjectRefused naming `where` for one that lines cannot change."""
    found = find(text, path, where)
    if found is None:
        raise ProjectRefused(f"{where}: {_shown(path)} is missing. {EXPORT_FIRST}")
    node = found.node
    if node is None or (isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null")):
        gap = (found.after, found.after) if node is None else (node.start_mark.index, node.end_mark.index)
        return FoundList((), found.indent, gap)
    if isinstance(node, yaml.SequenceNode) and not node.value:
        return FoundList((), found.indent, (node.start_mark.index, node.end_mark.index))
    if not isinstance(node, yaml.SequenceNode) or node.flow_style:
        raise ProjectRefused(
            f"{where}: {_shown(path)} is not a list with a line for each item. {EXPORT_FIRST}"
        )
    starts = [_dash(text, item, where) for item in node.value]
    indent = len(text[starts[0] :]) - len(text[starts[0] :].lstrip(" "))
    ends = [content_end(text, *span, indent) for span in pairwise([*starts, found.limit])]
    items = (Item(_keys(item), *span) for item, *span in zip(node.value, starts, ends, strict=True))
    return FoundList(tuple(items), indent, (0, 0))


def find(text: str, path: Sequence[Step], where: str) -> Found | None:
    """Return the node at a path; None if a key or an item is missing. Raises ProjectRefused."""
    try:
        root = _compose(text)
    except yaml.YAMLError as error:
        raise ProjectRefused(f"{where}: not valid YAML: {error}") from error
    found: Found | None = Found(root, 0, len(text))
    for step in path:
        if found is None:
            return None
        found = _child(text, found, step) if isinstance(step, str) else _item(text, found, step, where)
    return found


@lru_cache(maxsize=32)
def _compose(text: str) -> yaml.Node | None:
    """Parsing is slow, and an edit looks at the same text several times."""
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _child(text: str, parent: Found, key: str) -> Found | None:
    if not isinstance(parent.node, yaml.MappingNode):
        return None
    pairs = parent.node.value
    for (name, value), following in zip(pairs, [*pairs[1:], None], strict=False):
        if name.value == key:
            limit = line_start(text, following[0].start_mark.index) if following else parent.limit
            colon = text.index(":", name.end_mark.index) + 1
            return Found(value, name.start_mark.column, limit, colon)
    return None


def _item(text: str, parent: Found, step: tuple[str, str], where: str) -> Found | None:
    if not isinstance(parent.node, yaml.SequenceNode):
        return None
    nodes = parent.node.value
    for node, following in zip(nodes, [*nodes[1:], None], strict=False):
        if _keys(node).get(step[0]) == step[1]:
            limit = _dash(text, following, where) if following else parent.limit
            return Found(node, node.start_mark.column, limit)
    return None


def _dash(text: str, node: yaml.Node, where: str) -> int:
    """Return the start of the line that begins an item."""
    start = line_start(text, node.start_mark.index)
    if not text[start : node.start_mark.index].lstrip(" ").startswith("- "):
        line = node.start_mark.line + 1
        raise ProjectRefused(f"{where}: line {line} does not begin with `- ` and a key. {EXPORT_FIRST}")
    return start


def line_start(text: str, index: int) -> int:
    return text.rfind("\n", 0, index) + 1


def content_end(text: str, start: int, limit: int, indent: int) -> int:
    """Leave out empty lines at the end, and comments that are not indented more than the item."""
    lines = text[start:limit].splitlines(keepends=True)
    while len(lines) > 1 and _is_apart(lines[-1], indent):
        lines.pop()
    return start + sum(map(len, lines))


def _is_apart(line: str, indent: int) -> bool:
    content = line.lstrip(" ")
    depth = len(line) - len(content)
    return not content.strip() or (content.startswith(("#", "...")) and depth <= indent)


def _keys(node: yaml.Node) -> dict[str, str]:
    if isinstance(node, yaml.ScalarNode):
        return {"text": str(node.value)}
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): str(value.value) for key, value in node.value if _is_text(value)}
    return {}


def _is_text(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode)


def _shown(path: Sequence[Step]) -> str:
    return ".".join(step if isinstance(step, str) else step[1] for step in path) or "the file"


def block(text: str, item: Item, indent: int) -> str:
    """Return the lines of an item, without its indent."""
    return "".join(line[indent:] for line in text[item.start : item.end].splitlines(keepends=True))


def insert_item(text: str, path: Sequence[Step], lines: str, sorting: str | None, where: str) -> str:
    """Insert an item before the first one that sorts after it by the key `sorting`; at the end without one.

    `lines` have no indent and end with a line feed.
    """
    found = find_list(text, path, where)
    if not found.items:
        return _fill(text, found, path, lines)
    key = "" if sorting is None else _sort_key(find_list(lines, (), where).items[0], sorting)
    before = [item for item in found.items if sorting is None or _sort_key(item, sorting) < key]
    following = [item for item in found.items if item not in before]
    added = _lines(lines, found.indent, newline(text))
    if following and following[0] is found.items[0]:
        position = _before_comments(text, following[0].start)
    else:
        position = (before[-1] if not following else found.items[found.items.index(following[0]) - 1]).end
    if position and text[position - 1] != "\n":
        return text[:position] + newline(text) + added.removesuffix(newline(text)) + text[position:]
    return text[:position] + added + text[position:]


def _sort_key(item: Item, sorting: str) -> str:
    return item.keys.get(sorting, "").removesuffix(".yaml")


def _lines(lines: str, indent: int, ending: str) -> str:
    return "".join(f"{' ' * indent}{line}{ending}" for line in lines.splitlines())


def _before_comments(text: str, position: int) -> int:
    while position:
        above = line_start(text, position - 1)
        if not text[above:position].lstrip(" ").startswith("#"):
            break
        position = above
    return position


def _fill(text: str, found: FoundList, path: Sequence[Step], lines: str) -> str:
    """Put the first item into an empty list; a comment on the line of `[]` goes above it."""
    ending = newline(text)
    start, end = found.gap
    line_end = text.find("\n", end)
    rest = text[end:] if line_end < 0 else text[end:line_end]
    tail = "" if line_end < 0 else text[line_end + 1 :]
    head = text[:start].rstrip(" ")
    if path:
        head += f"{rest.rstrip()}{ending}"
    elif start == end:
        return text + (ending if text and not text.endswith("\n") else "") + _lines(lines, 0, ending)
    elif rest.strip():
        head += f"{rest.strip()}{ending}"
    return head + _lines(lines, found.indent + 2 if path else 0, ending) + tail


def remove_item(text: str, path: Sequence[Step], key: str, value: str, where: str) -> str:
    """Remove the item whose `key` holds `value`, if the list has it. The last one leaves `[]`."""
    found = find_list(text, path, where)
    if (item := found.find(key, value)) is None:
        return text
    head, tail = text[: item.start], text[item.end :]
    if len(found.items) == 1:
        return _empty(text, path, item, where)
    if item is found.items[-1] and not text.endswith("\n") and not tail:
        head = head.removesuffix("\n").removesuffix("\r")
    return head + tail


def _empty(text: str, path: Sequence[Step], item: Item, where: str) -> str:
    """Remove the only item of a list."""
    if not path:
        return f"{text[: item.start]}[]{newline(text)}{text[item.end :]}"
    found = find(text, path, where)
    assert found is not None
    return f"{text[: found.after]} []{text[found.after : item.start]}{text[item.end :]}"


@dataclass(frozen=True)
class Definition:
    """One definition: the names of its actions, or that of its custom type."""

    names: tuple[str, ...]
    rank: int
    start: int
    end: int
    """Behind its last character, and behind a comment on that line."""


def find_definitions(text: str, where: str) -> list[Definition]:
    """Return the definitions in their order. Raises ProjectRefused."""
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return []
    try:
        document = parse(text)
    except GraphQLSyntaxError as error:
        raise ProjectRefused(f"{where}: {error}") from error
    return [_definition(text, node) for node in document.definitions]


def _definition(text: str, node: DefinitionNode) -> Definition:
    assert node.loc is not None
    end = node.loc.end
    line_end = text.find("\n", end)
    rest = text[end:] if line_end < 0 else text[end:line_end]
    if rest.lstrip().startswith("#"):
        end += len(rest.rstrip())
    name: str = node.name.value  # type: ignore[attr-defined]
    if isinstance(node, ObjectTypeDefinitionNode | ObjectTypeExtensionNode) and name in ROOTS:
        names = tuple(field.name.value for field in node.fields or ())
        return Definition(names, ACTION_RANK, node.loc.start, end)
    rank = next((1 + place for place, kind in enumerate(RANKS) if isinstance(node, kind)), len(RANKS))
    return Definition((name,), rank, node.loc.start, end)


def insert_definition(text: str, lines: str, where: str) -> str:
    """Insert one definition: an action by its name, a custom type behind the others of its kind."""
    ending = newline(text)
    lines = lines.strip().replace("\n", ending)
    (new,) = find_definitions(lines, where)
    others = find_definitions(text, where)
    place = sum(1 for other in others if other.rank <= new.rank)
    if new.rank == ACTION_RANK:
        later = [index for index, other in enumerate(others[:place]) if other.names[:1] > new.names]
        actions = [index for index, other in enumerate(others) if other.rank == ACTION_RANK]
        place = later[0] if later else (actions[-1] + 1 if actions else 0)
    elif place:
        place = 1 + max(index for index, other in enumerate(others) if other.rank <= new.rank)
    if place:
        position = others[place - 1].end
        return f"{text[:position]}{ending * 2}{lines}{text[position:]}"
    if others:
        position = _before_comments(text, others[0].start)
        return f"{text[:position]}{lines}{ending * 2}{text[position:]}"
    return f"{text}{lines}{ending * 2}"


def remove_definition(text: str, name: str, *, is_action: bool, where: str) -> str:
    """Remove a definition, if the text has it, with the empty line that separates it."""
    found = find_definitions(text, where)
    for index, each in enumerate(found):
        if name not in each.names or (each.rank == ACTION_RANK) is not is_action:
            continue
        if len(each.names) > 1:
            raise ProjectRefused(
                f"{where}: {name} shares its `type` with {_others(each, name)}. {EXPORT_FIRST}"
            )
        head, tail = text[: each.start], text[each.end :]
        ending = newline(text)
        if index and not head[found[index - 1].end :].strip():
            return head[: found[index - 1].end] + tail
        return head + tail.removeprefix(ending).removeprefix(ending)
    return text


def _others(definition: Definition, name: str) -> str:
    return ", ".join(other for other in definition.names if other != name)


def has_permission(text: str, where: str) -> bool:
    return (
        find(text, PERMISSIONS, where) is not None
        and find_list(text, PERMISSIONS, where).find("role", ROLE) is not None
    )


def add_permission(text: str, where: str) -> str:
    """Add the role to the permissions of the action. Raises ProjectRefused without the action."""
    action = find(text, PATH, where)
    if action is None:
        raise ProjectRefused(
            f"{where} has no action {ACTION}, with which the integration notifies. Nothing was changed."
        )
    if has_permission(text, where):
        return text
    if find(text, PERMISSIONS, where) is not None:
        return insert_item(text, PERMISSIONS, f"- role: {ROLE}\n", "role", where)
    definition = find(text, (*PATH, "definition"), where)
    if not isinstance(action.node, yaml.MappingNode) or action.node.flow_style or definition is None:
        raise ProjectRefused(f"{where}: {ACTION} has no line for each key. {EXPORT_FIRST}")
    start = line_start(text, definition.after)
    position = content_end(text, start, definition.limit, definition.indent)
    ending, indent = newline(text), " " * definition.indent
    added = f"{indent}permissions:{ending}{indent}  - role: {ROLE}{ending}"
    if text[position - 1] != "\n":
        return f"{text[:position]}{ending}{added.removesuffix(ending)}{text[position:]}"
    return text[:position] + added + text[position:]


def remove_permission(text: str, where: str) -> str:
    """Remove the role from the permissions of the action, and the key with its last role."""
    permissions = find(text, PERMISSIONS, where)
    if permissions is None:
        return text
    found = find_list(text, PERMISSIONS, where)
    item = found.find("role", ROLE)
    if item is None or len(found.items) > 1:
        return remove_item(text, PERMISSIONS, "role", ROLE, where)
    head, tail = text[: line_start(text, permissions.after)], text[item.end :]
    if not tail and not text.endswith("\n"):
        head = head.removesuffix("\n").removesuffix("\r")
    return head + tail
