"""The state of a statement while it is built: parameters, aliases, session."""

from functools import lru_cache
from typing import Any

from psycopg import sql

from graphql_engine.auth import Session
from graphql_engine.catalog import Key, Table, Type
from graphql_engine.errors import QErr
from graphql_engine.graphql.model.conditions import Const, Operand, OtherColumn, Scope, SessionVariable
from graphql_engine.graphql.model.pg_values import to_text
from graphql_engine.graphql.model.tables import Relationship
from graphql_engine.graphql.schema.schemas import RoleSchema

JSON = Type("json", "json")


@lru_cache(maxsize=8192)
def ident(*parts: str) -> str:
    """Quote an identifier, also for statements with placeholders."""
    return sql.Identifier(*parts).as_string(None).replace("%", "%%")


@lru_cache(maxsize=8192)
def literal(text: str) -> str:
    """Quote a string constant, also for statements with placeholders."""
    return sql.Literal(text).as_string(None).strip().replace("%", "%%")


class Context:
    """Collect the parameters of one statement."""

    def __init__(self, role: RoleSchema, session: Session, stringify: bool) -> None:
        self.views = role.views
        self.session = session
        self.stringify = stringify
        self.params: dict[str, str | None] = {}
        self._aliases = 0

    def alias(self) -> str:
        self._aliases += 1
        return f"t{self._aliases}"

    def value(self, type_: Type, value: Any) -> str:
        """Add a JSON value as a typed parameter."""
        return self.text(type_, to_text(type_, value))

    def text(self, type_: Type, text: str | None) -> str:
        """Add a text that PostgreSQL reads as `type_`. A NUL character ends it, as in the engine."""
        name = f"p{len(self.params)}"
        self.params[name] = None if text is None else text.partition("\x00")[0]
        return f"((%({name})s)::{type_name(type_)})"

    def operand(self, operand: Operand, type_: Type, scope: Scope) -> str:
        """Return the SQL of the right side of a comparison."""
        if isinstance(operand, Const):
            return self.value(type_, self._filled(operand.value))
        if isinstance(operand, SessionVariable):
            return self.text(type_, self.session_value(operand.name))
        return self._other_column(operand, scope)

    def session_value(self, name: str) -> str:
        """Add a session variable. Raises QErr `not-found`."""
        value = self.session.variables.get(name)
        if value is None:
            raise QErr("not-found", f'missing session variable: "{name}"')
        return value

    def _filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.session_value(v.name) if isinstance(v, SessionVariable) else v for v in value]
        return value

    def _other_column(self, other: OtherColumn, scope: Scope) -> str:
        alias = scope.root if other.of_root else scope.alias
        if not other.path:
            return f"{alias}.{ident(other.column.name)}"
        steps = [(rel, self.alias()) for rel in other.path]
        tables = ", ".join(f"{ident(*rel.target)} AS {name}" for rel, name in steps)
        joins = []
        for rel, name in steps:
            joins.append(join(rel, alias, name))
            alias = name
        return (
            f"(SELECT {alias}.{ident(other.column.name)} FROM {tables} WHERE {' AND '.join(joins)} LIMIT 1)"
        )


def type_name(type_: Type) -> str:
    """Return the type as a cast writes it; the catalog has quoted it where needed."""
    return type_.name.replace("%", "%%")


def join(rel: Relationship, own: str, remote: str) -> str:
    """Return the condition that joins a related row to its own row."""
    return " AND ".join(f"{remote}.{ident(theirs)} = {own}.{ident(ours)}" for ours, theirs in rel.mapping)


def table_name(table: Table) -> str:
    return ident(table.schema, table.name)


def key_name(key: Key) -> str:
    """Quote (schema, name)."""
    return ident(*key)
