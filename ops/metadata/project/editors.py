"""How our part is put into each file of a project, and taken out of it."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.metadata.pieces import Key
from ops.metadata.project import permission, sdl_blocks
from ops.metadata.project.yaml_lists import (
    Step,
    block,
    find_list,
    insert_item,
    remove_item,
)

IN_ACTIONS = {"action": ("actions",), "input type": ("custom_types", "input_objects")}
IN_ACTIONS |= {"object type": ("custom_types", "objects")}
SORTED_ACTIONS = {"action": "name"}
"""Custom types keep the order in which they are sent."""

EMPTY = "[]\n"


@dataclass(frozen=True)
class Editor(ABC):
    """Edits one file. Both methods raise ProjectRefused for a form that they cannot edit."""

    path: Path
    where: str
    """The path as it is shown."""

    @abstractmethod
    def take_out(self, text: str | None) -> str | None:
        """Return the text without our part; None for a file that is not there."""

    @abstractmethod
    def put_in(self, text: str | None) -> str | None:
        """Return a text without our part with our part in it."""


@dataclass(frozen=True)
class WholeFile(Editor):
    """A file that no one else writes: of a table, or of a migration."""

    content: str | None
    """None: an older version had it, and this version has it no more."""

    def take_out(self, text: str | None) -> None:
        return None

    def put_in(self, text: str | None) -> str | None:
        return self.content


@dataclass(frozen=True)
class ListFile(Editor):
    """A file that is one list."""

    naming: str
    names: frozenset[str]
    """Our items, also those that this version has no more."""

    blocks: tuple[str, ...]
    sorting: str

    def take_out(self, text: str | None) -> str | None:
        for name in sorted(self.names) if text is not None else ():
            text = remove_item(text or "", (), self.naming, name, self.where)
        return text

    def put_in(self, text: str | None) -> str | None:
        if text is None and not self.blocks:
            return None
        text = text or ""
        for lines in self.blocks:
            text = insert_item(text, (), lines, self.sorting, self.where)
        return text


@dataclass(frozen=True)
class ActionsFile(Editor):
    """`actions.yaml`: actions, types and the permission for Diva's action."""

    names: frozenset[Key]
    blocks: tuple[tuple[str, str], ...]
    """Kind and lines."""

    is_permission_theirs: bool

    def take_out(self, text: str | None) -> str | None:
        if text is None:
            return None
        for kind, name in sorted(self.names):
            if find_list(text, IN_ACTIONS[kind], self.where).items:
                text = remove_item(text, IN_ACTIONS[kind], "name", name, self.where)
        return text if self.is_permission_theirs else permission.remove_permission(text, self.where)

    def put_in(self, text: str | None) -> str:
        text = permission.add_permission(text or "", self.where)
        for kind, lines in self.blocks:
            text = insert_item(text, IN_ACTIONS[kind], lines, SORTED_ACTIONS.get(kind), self.where)
        return text


@dataclass(frozen=True)
class SignaturesFile(Editor):
    """`actions.graphql`."""

    names: frozenset[Key]
    blocks: tuple[str, ...]

    def take_out(self, text: str | None) -> str | None:
        for kind, name in sorted(self.names) if text is not None else ():
            is_action = kind == "action"
            text = sdl_blocks.remove_definition(text or "", name, is_action=is_action, where=self.where)
        return text

    def put_in(self, text: str | None) -> str:
        text = text or ""
        for lines in self.blocks:
            text = sdl_blocks.insert_definition(text, lines, self.where)
        return text


def blocks_of(path: Path, at: Sequence[Step] = ()) -> Iterable[str]:
    """Yield the items of a list in one of our files."""
    text = path.read_text("utf-8")
    found = find_list(text, at, str(path))
    yield from (block(text, item, found.indent) for item in found.items)


def definitions_of(path: Path) -> Iterable[str]:
    """Yield the definitions in our `actions.graphql`."""
    text = path.read_text("utf-8")
    yield from (text[each.start : each.end] for each in sdl_blocks.find_definitions(text, str(path)))
