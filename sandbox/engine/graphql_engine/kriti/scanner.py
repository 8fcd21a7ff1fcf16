"""Read the tokens of a template."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

Variables = dict[str, Any]
Template = Callable[[Variables], Any]
# A variable; the names of the engine's own begin with `$`.
NAME = re.compile(r"\$?[A-Za-z_][A-Za-z0-9_-]*|\$")
# A keyword or function.
WORD = re.compile(r"[A-Za-z_]+")
CONSTANTS = {"true": True, "false": False, "null": None}


class KritiError(Exception):
    """A template is malformed, or refers to a value that does not exist."""


class Scanner(ABC):
    """A position in the source of a template. `value` is abstract because expressions contain JSON values."""

    def __init__(self, text: str) -> None:
        self.source = text
        self.at = 0

    def error(self, wanted: str) -> KritiError:
        return KritiError(
            f"expecting {wanted} at position {self.at}: {self.source[self.at : self.at + 20]!r}"
        )

    def skip(self) -> None:
        while self.at < len(self.source) and self.source[self.at].isspace():
            self.at += 1

    def peek(self, token: str) -> bool:
        self.skip()
        return self.source.startswith(token, self.at)

    def take(self, token: str) -> bool:
        found = self.peek(token)
        if found:
            self.at += len(token)
        return found

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self.error(repr(token))

    def word(self, *words: str) -> str | None:
        self.skip()
        match = WORD.match(self.source, self.at)
        if match and match.group() in words:
            self.at = match.end()
            return match.group()
        return None

    def name(self) -> str:
        self.skip()
        match = NAME.match(self.source, self.at)
        if match is None:
            raise self.error("a name")
        self.at = match.end()
        return match.group()

    @abstractmethod
    def value(self) -> Template:
        """Parse a JSON value or braces."""
