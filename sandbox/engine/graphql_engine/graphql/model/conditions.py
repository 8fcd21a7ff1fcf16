"""Boolean expressions over rows, the form of a client's `where` and of permissions; how to read the latter.

Facts: the engine's `RQL/DDL/Permission/Internal`, `Postgres/DDL/BoolExp` and `Translate/BoolExp`.
"""

from dataclasses import dataclass
from typing import Any

from graphql_engine.catalog import Column, Key, Type
from graphql_engine.graphql.model.tables import Relationship, TrackedTable, key_of
from graphql_engine.rawjson import kind_of

INFIX = {
    "_eq": "=",
    "_neq": "<>",
    "_gt": ">",
    "_lt": "<",
    "_gte": ">=",
    "_lte": "<=",
    "_like": "LIKE",
    "_nlike": "NOT LIKE",
    "_ilike": "ILIKE",
    "_nilike": "NOT ILIKE",
    "_similar": "SIMILAR TO",
    "_nsimilar": "NOT SIMILAR TO",
    "_regex": "~",
    "_iregex": "~*",
    "_nregex": "!~",
    "_niregex": "!~*",
    "_contains": "@>",
    "_contained_in": "<@",
    "_has_key": "?",
    "_has_keys_any": "?|",
    "_has_keys_all": "?&",
    "_ancestor": "@>",
    "_descendant": "<@",
    "_ancestor_any": "@>",
    "_descendant_any": "<@",
    "_matches": "~",
    "_matches_any": "?",
    "_matches_fulltext": "@",
}
OPERATORS = {*INFIX, "_in", "_nin", "_is_null"}
TEXT = Type("text", "text")
BOOLEAN = Type("boolean", "bool")
INTEGER = Type("integer", "int4")
TEXTS = Type("text[]", "_text", "b", TEXT)
ALIASES = {"_ne": "_neq", "_cne": "_cneq"}
COLUMN_OPERATORS = {
    "_ceq": "_eq",
    "_cneq": "_neq",
    "_cgt": "_gt",
    "_clt": "_lt",
    "_cgte": "_gte",
    "_clte": "_lte",
}
# Types whose values are JSON strings, with their name in messages.
CHECKED = {"uuid": "UUID", "text": "Text"}
LQUERY = Type("lquery", "lquery")
LTREE_PATTERNS = {
    "_matches": LQUERY,
    "_matches_any": Type("lquery[]", "_lquery", "b", LQUERY),
    "_matches_fulltext": Type("ltxtquery", "ltxtquery"),
}


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
class Rooted:
    """Evaluate `item` with the current row as its root row (for columns written `["$", …]`)."""

    item: "BoolExp"


@dataclass(frozen=True)
class Unsupported:
    """A condition that the metadata may hold and this stand-in does not evaluate."""

    what: str


BoolExp = Rooted | Compare | All | AnyOf | Not | Related | ExistsIn | Unsupported
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


Tables = dict[Key, TrackedTable]


def array_of(type_: Type) -> Type:
    return Type(f"{type_.name}[]", f"_{type_.internal}", "b", type_)


def operand_type(op: str, type_: Type) -> Type:
    """Return the type of the right side of an operator on a column of `type_`."""
    if op == "_is_null":
        return BOOLEAN
    if op in ("_in", "_nin", "_ancestor_any", "_descendant_any"):
        return array_of(type_)
    if op == "_has_key":
        return TEXT
    if op in ("_has_keys_any", "_has_keys_all"):
        return TEXTS
    if op.startswith("_matches"):
        return LTREE_PATTERNS[op]
    return type_


def is_session_variable(value: Any) -> bool:
    """Whether a string of the metadata names a session variable."""
    return isinstance(value, str) and value.lower().startswith("x-hasura-")


def operand(value: Any) -> Operand:
    """Read a value of the metadata: a session variable, a constant, or a list of these."""
    if is_session_variable(value):
        return SessionVariable(value.lower())
    if isinstance(value, list):
        return Const([SessionVariable(v.lower()) if is_session_variable(v) else v for v in value])
    return Const(value)


class Unfit(ValueError):
    """A condition or a value of the metadata does not fit the database; says why as the engine does."""


def check_value(column: Column, value: Any) -> None:
    """Raise Unfit for a constant of the wrong JSON kind; the text of values is not checked."""
    name = CHECKED.get(column.type.internal)
    if name is not None and value is not None and not isinstance(value, str):
        raise Unfit(f"parsing {name} failed, expected String, but encountered {kind_of(value)}")


def permission_exp(table: TrackedTable, tables: Tables, expression: Any) -> BoolExp:
    """Read the condition `expression` on rows of `table`. Raises Unfit, or KeyError for another column."""
    return _Reader(tables, table).read(table, expression or {})


class _Reader:
    def __init__(self, tables: Tables, root: TrackedTable) -> None:
        self.tables = tables
        self.root = root

    def read(self, table: TrackedTable, expression: Any) -> BoolExp:
        items = expression.items() if isinstance(expression, dict) else ()
        return All(tuple(self._item(table, key, value) for key, value in items))

    def _item(self, table: TrackedTable, key: str, value: Any) -> BoolExp:
        name = "_" + key[1:] if key.startswith("$") else key
        if name in ("_and", "_or"):
            items = value if isinstance(value, list) else [value]
            parts = tuple(self.read(table, item) for item in items)
            return All(parts) if name == "_and" else AnyOf(parts)
        if name == "_not":
            return Not(self.read(table, value))
        if name == "_exists":
            schema, plain = other = key_of(value.get("_table") or value["table"])
            if other not in self.tables:
                shown = plain if schema == "public" else f"{schema}.{plain}"
                raise Unfit(f'table "{shown}" does not exist')
            where = value.get("_where") or value.get("where")
            return ExistsIn(other, self.read(self.tables[other], where))
        return self._field(table, key, value)

    def _field(self, table: TrackedTable, key: str, value: Any) -> BoolExp:
        found = table.relationships.get(key)
        if found is not None:
            return Related(found, self.read(self.tables[found.target], value))
        if key in table.computed_fields:
            return Unsupported(f'the computed field "{key}" in a permission')
        if table.has_relationship(key):
            return Unsupported(f'the inconsistent relationship "{key}"')
        column = table.table.columns.get(key) or table.gql_columns.get(key)
        if column is None:
            raise Unfit(f'"{key}" does not exist')
        tests = value if isinstance(value, dict) else {"_eq": value}
        return All(tuple(self._test(table, column, op, right) for op, right in tests.items()))

    def _test(self, table: TrackedTable, column: Column, key: str, right: Any) -> BoolExp:
        op = "_" + key[1:] if key.startswith("$") else key
        op = ALIASES.get(op, op)
        if op in COLUMN_OPERATORS:
            other = self._other(table, right)
            if other.column.type.internal != column.type.internal:
                raise Unfit(
                    f'incompatible column types: "{column.name}" has type "{column.type.name}",'
                    f' but "{other.column.name}" has type "{other.column.type.name}"'
                )
            return Compare(column, COLUMN_OPERATORS[op], other, column.type)
        if op == "_cast":
            return self._cast(table, column, right)
        if op.startswith("_st_"):
            return Unsupported(f'the operator "{key}" of PostGIS')
        if op not in OPERATORS:
            raise Unfit(f"Unknown operator: {key}")
        if op in COLUMN_OPERATORS.values():
            check_value(column, right)
        null_safe = {"_eq": "=?", "_neq": "<>?"}.get(op, op)
        return Compare(column, null_safe, operand(right), operand_type(op, column.type))

    def _cast(self, table: TrackedTable, column: Column, casts: dict[str, Any]) -> BoolExp:
        parts: list[BoolExp] = []
        for tests in casts.values():
            for op, right in tests.items():
                parts.append(Compare(column, op, operand(right), operand_type(op, TEXT), cast=TEXT))
        return All(tuple(parts))

    def _other(self, table: TrackedTable, right: Any) -> OtherColumn:
        path = [right] if isinstance(right, str) else list(right)
        if path[0] == "$":
            return OtherColumn(self.root.table.columns[path[-1]], of_root=True)
        steps: list[Relationship] = []
        for name in path[:-1]:
            steps.append(table.relationships[name])
            table = self.tables[steps[-1].target]
        return OtherColumn(table.table.columns[path[-1]], path=tuple(steps))
