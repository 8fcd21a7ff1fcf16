"""Values that the specification leaves open, in a state that is expected."""

from typing import TypeAlias


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


Text: TypeAlias = str | Anything | OneOf | None
