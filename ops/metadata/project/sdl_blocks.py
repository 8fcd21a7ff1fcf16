"""Insert and remove definitions of `actions.graphql` as text; every other byte stays as it is."""

from dataclasses import dataclass

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

from ops.metadata.project.edit_error import EXPORT_FIRST, ProjectRefused
from ops.metadata.project.yaml_lists import newline
from ops.metadata.sdl import ROOTS

ACTION = 0
RANKS = (
    EnumTypeDefinitionNode,
    InputObjectTypeDefinitionNode,
    ObjectTypeDefinitionNode,
    ScalarTypeDefinitionNode,
)
"""The order of custom types behind the actions, that of `custom_types` in `actions.yaml`."""


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
        return Definition(names, ACTION, node.loc.start, end)
    rank = next((1 + place for place, kind in enumerate(RANKS) if isinstance(node, kind)), len(RANKS))
    return Definition((name,), rank, node.loc.start, end)


def insert_definition(text: str, lines: str, where: str) -> str:
    """Insert one definition: an action by its name, a custom type behind the others of its kind."""
    ending = newline(text)
    lines = lines.strip().replace("\n", ending)
    (new,) = find_definitions(lines, where)
    others = find_definitions(text, where)
    place = sum(1 for other in others if other.rank <= new.rank)
    if new.rank == ACTION:
        later = [index for index, other in enumerate(others[:place]) if other.names[:1] > new.names]
        actions = [index for index, other in enumerate(others) if other.rank == ACTION]
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


def _before_comments(text: str, position: int) -> int:
    while position:
        above = text.rfind("\n", 0, position - 1) + 1
        if not text[above:position].lstrip().startswith("#"):
            break
        position = above
    return position


def remove_definition(text: str, name: str, *, is_action: bool, where: str) -> str:
    """Remove a definition, if the text has it, with the empty line that separates it."""
    found = find_definitions(text, where)
    for index, each in enumerate(found):
        if name not in each.names or (each.rank == ACTION) is not is_action:
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
