"""Import a verb's module when the verb is used: a command does not wait for the modules of all others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import typer
from typer.core import TyperCommand, TyperGroup

from ops.output import examples


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb: `module:name` of a function or of a typer.Typer, and of a function the examples of its help."""

    target: str
    examples: tuple[str, ...] = ()


class Verbs(Mapping[str, TyperCommand | TyperGroup]):
    """The commands of the verbs by their names. The order is that of the help."""

    def __init__(self, verbs: Mapping[str, Verb]) -> None:
        self._verbs = verbs

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        return _load(name, self._verbs[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._verbs)

    def __len__(self) -> int:
        return len(self._verbs)


@cache
def _load(name: str, verb: Verb) -> TyperCommand | TyperGroup:
    module, _, attribute = verb.target.partition(":")
    target = getattr(import_module(module), attribute)
    parent = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    if isinstance(target, typer.Typer):
        parent.add_typer(target, name=name)
    else:
        parent.command(name, epilog=examples(*verb.examples))(target)
    command = typer.main.get_group(parent).commands[name]
    assert isinstance(command, (TyperCommand, TyperGroup))
    return command
