"""Values that the specification leaves open, in a state that is expected."""

from typing import TypeAlias

from tests.support.histories.vocabulary import FIRST_LINE, LAST_LINE


class Anything:
    """Equals every value."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        raise TypeError("ANY has no hash")

    def __repr__(self) -> str:
        return "ANY"


ANY = Anything()


class OneOf:
    """Equals each of its values."""

    def __init__(self, *values: object) -> None:
        self.values = values

    def __eq__(self, other: object) -> bool:
        return other in self.values

    def __hash__(self) -> int:
        raise TypeError("OneOf has no hash")

    def __repr__(self) -> str:
        return " or ".join(map(repr, self.values))


class Described:
    """Equals a description in which our block stands between what people typed."""

    def __init__(self, before: str, after: str) -> None:
        self.before, self.after = before, after

    def __eq__(self, other: object) -> bool:
        text = str(other)
        block = self.block(text)
        is_between = text == f"{self.before}{block}{self.after}"
        is_block = block.startswith(FIRST_LINE) and block.endswith(LAST_LINE)
        return is_between and is_block and block.count(FIRST_LINE) == block.count(LAST_LINE) == 1

    def __hash__(self) -> int:
        raise TypeError("Described has no hash")

    def __repr__(self) -> str:
        return f"{self.before!r}, our block, {self.after!r}"

    def block(self, text: str) -> str:
        return text[len(self.before) : len(text) - len(self.after)]


Text: TypeAlias = str | Anything | OneOf | Described | None
