"""Boolean expressions over rows, whatever they were written in: a client's `where` or a permission."""

from dataclasses import dataclass
from typing import Any

from graphql_engine.catalog import Column, Key, Table, Type
from graphql_engine.graphql.model.tables import ComputedField, Relationship


@dataclass(frozen=True)
class Const:
    """A value, as JSON."""

    value: Any


@dataclass(frozen=True)
class SessionVariable:
    """The value of a session variable of whoever asks (name in lower case)."""

    name: str


@dataclass(frozen=True)
class OtherColumn:
    """Another column: of the row itself, of the permission's root row, or through object relationships."""

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
    """Every one of them holds (true when empty)."""

    items: tuple["BoolExp", ...] = ()


@dataclass(frozen=True)
class AnyOf:
    """At least one of them holds (false when empty)."""

    items: tuple["BoolExp", ...] = ()


@dataclass(frozen=True)
class Not:
    """It does not hold."""

    item: "BoolExp"


@dataclass(frozen=True)
class Related:
    """Some related row satisfies `where`."""

    relationship: Relationship
    where: "BoolExp"


@dataclass(frozen=True)
class ExistsIn:
    """Some row of an unrelated table satisfies `where` (permissions only)."""

    table: Key
    where: "BoolExp"


@dataclass(frozen=True)
class Aggregated:
    """An aggregate over related rows compares so: `count(columns) op value`."""

    relationship: Relationship
    function: str
    columns: tuple[Column, ...]
    distinct: bool
    where: "BoolExp"
    predicate: tuple[tuple[str, Operand], ...]
    type: Type


@dataclass(frozen=True)
class ComputedTests:
    """A scalar computed field of `table` passes all tests (operator, operand, operand type)."""

    table: Table
    field: ComputedField
    tests: tuple[tuple[str, Operand, Type], ...]


@dataclass(frozen=True)
class ComputedRows:
    """Some row that a computed field of `table` returns satisfies `where`."""

    table: Table
    field: ComputedField
    where: "BoolExp"


@dataclass(frozen=True)
class Rooted:
    """`item` with the current row as its root row (for columns written `["$", …]`)."""

    item: "BoolExp"


BoolExp = (
    Rooted | Compare | All | AnyOf | Not | Related | ExistsIn | Aggregated | ComputedTests | ComputedRows
)
TRUE = All()


def both(first: BoolExp, second: BoolExp) -> BoolExp:
    """Both hold; drops what is always true."""
    if first == TRUE:
        return second
    if second == TRUE:
        return first
    return All((first, second))


@dataclass(frozen=True)
class Scope:
    """Where a column of the current row lives while SQL is written: table alias, and the root row's alias."""

    alias: str
    root: str
