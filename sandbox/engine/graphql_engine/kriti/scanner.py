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
    """A template is malformed, or refers to a value that does not exist.

    place: the columns of the fault, counted from 1, the second one not included; None if it is not known.
    """

    def __init__(
        self, message: str, code: str = "Template Error", place: tuple[int, int] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.place = place

    def shown(self) -> dict[str, Any]:
        """Return the error as `internal` of an answer lists it."""
        shown: dict[str, Any] = {"error_code": self.code, "message": str(self)}
        if self.place is not None:
            start, end = self.place
            lines = {"start_line": 0, "end_line": 0}
            shown["source_position"] = lines | {"start_column": start, "end_column": end}
        return shown


class Scanner(ABC):
    """A position in the source of a template. `value` is abstract because expressions contain JSON values."""

    def __init__(self, text: str) -> None:
        self.source = text
        self.at = 0

    def error(self, wanted: str) -> KritiError:
        if self.at >= len(self.source):
            return KritiError("ParseError: Empty token stream.", "Parse Error", (self.at, self.at + 1))
        found = self.source[self.at : self.at + 20]
        message = f"ParseError: expecting {wanted} at position {self.at}: {found!r}"
        return KritiError(message, "Parse Error", (self.at + 1, self.at + 2))

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
