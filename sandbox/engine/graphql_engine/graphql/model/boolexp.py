"""Boolean expressions over rows: the common form of a client's `where` and of permissions."""

from dataclasses import dataclass
from typing import Any

from graphql_engine.catalog import Column, Key, Type
from graphql_engine.graphql.model.tables import Relationship


@dataclass(frozen=True)
class Const:
    """A JSON value."""

    value: Any


@dataclass(frozen=True)
class SessionVariable:
    """The value of a session variable of the request (name in lower case)."""

    name: str


@dataclass(frozen=True)
class OtherColumn:
    """Another column: of the row, of the permission's root row, or reached through object relationships."""

    column: Column
    of_root: bool = False
    path: tuple[Relationship, ...] = ()


Operand = Const | SessionVariable | OtherColumn


@dataclass(frozen=True)
class Compare:
    """`column op operand`. op: a Hasura operator with its underscore, or `=?`/`<>?` (equal or both null)."""

    column: Column
    op: str
    operand: Operand
    operand_type: Type
    cast: Type | None = None


@dataclass(frozen=True)
class All:
    """True if every item is true (true when empty)."""

    items: tuple["BoolExp", ...] = ()


@dataclass(frozen=True)
class AnyOf:
    """True if at least one item is true (false when empty)."""

    items: tuple["BoolExp", ...] = ()


@dataclass(frozen=True)
class Not:
    item: "BoolExp"


@dataclass(frozen=True)
class Related:
    """True if a related row satisfies `where`."""

    relationship: Relationship
    where: "BoolExp"


@dataclass(frozen=True)
class ExistsIn:
    """True if a row of an unrelated table satisfies `where` (permissions only)."""

    table: Key
    where: "BoolExp"


@dataclass(frozen=True)
class Aggregated:
    """Compare an aggregate over related rows: `count(columns) op value`."""

    relationship: Relationship
    function: str
    columns: tuple[Column, ...]
    distinct: bool
    where: "BoolExp"
    predicate: tuple[tuple[str, Operand], ...]
    type: Type


@dataclass(frozen=True)
class Rooted:
    """Evaluate `item` with the current row as its root row (for columns written `["$", …]`)."""

    item: "BoolExp"


@dataclass(frozen=True)
class Unsupported:
    """A condition that the metadata may hold and this stand-in does not evaluate."""

    what: str


BoolExp = Rooted | Compare | All | AnyOf | Not | Related | ExistsIn | Aggregated | Unsupported
TRUE = All()


def both(first: BoolExp, second: BoolExp) -> BoolExp:
    """Combine two conditions; one that is always true is dropped."""
    if first == TRUE:
        return second
    if second == TRUE:
        return first
    return All((first, second))


@dataclass(frozen=True)
class Scope:
    """The SQL aliases of the current row and of the root row."""

    alias: str
    root: str
