"""Shared parts of the schema builder: scalars, enums, and helpers for fields with marks.

A mark (in graphql-core's `extensions`) tells the input reader how to read a leaf: `column` is the
PostgreSQL type whose parser applies (`items`: to each item of a list), `strict` refuses null although the
type is nullable, `range` limits Int.
Facts: the engine's `GraphQL/Schema/*` and `Postgres/Instances/Schema`.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLFloat,
    GraphQLID,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLString,
)

from graphql_engine.catalog import Type
from graphql_engine.graphql.model.names import scalar_name
from graphql_engine.graphql.model.views import RoleViews, TableView

AnyType = Any
Named = TypeVar("Named", bound=GraphQLNamedType)
ORDERINGS = {
    "asc": "in ascending order, nulls last",
    "asc_nulls_first": "in ascending order, nulls first",
    "asc_nulls_last": "in ascending order, nulls last",
    "desc": "in descending order, nulls first",
    "desc_nulls_first": "in descending order, nulls first",
    "desc_nulls_last": "in descending order, nulls last",
}


class Builder:
    """Make the types of one role, each once."""

    def __init__(self, views: RoleViews) -> None:
        self.views = views
        self.types: dict[str, GraphQLNamedType] = {
            t.name: t for t in (GraphQLInt, GraphQLFloat, GraphQLString, GraphQLBoolean, GraphQLID)
        }

    def once(self, name: str, make: Callable[[], Named]) -> Named:
        """Return the type called `name`; `make` makes it the first time."""
        if name not in self.types:
            self.types[name] = make()
        return self.types[name]  # type: ignore[return-value]

    def scalar(self, type_: Type) -> GraphQLScalarType:
        """Return the scalar of a PostgreSQL type that is not an array."""
        return self.named_scalar(scalar_name(type_))

    def named_scalar(self, name: str) -> GraphQLScalarType:
        return self.once(name, lambda: GraphQLScalarType(name))

    def value_type(self, type_: Type) -> AnyType:
        """Return the nullable GraphQL type of a PostgreSQL type."""
        if type_.element is not None:
            return GraphQLList(GraphQLNonNull(self.scalar(type_.element)))
        return self.scalar(type_)

    def inputs(
        self, name: str, fields: Any, text: str | None = None, **extensions: Any
    ) -> GraphQLInputObjectType:
        """Return the input type called `name`; `fields` are a dict, or a function that makes it later."""
        return self.once(
            name, lambda: GraphQLInputObjectType(name, fields, description=text, extensions=extensions)
        )

    def output(self, name: str, fields: Any, text: str | None = None, **extensions: Any) -> GraphQLObjectType:
        """Return the output type called `name`."""
        return self.once(
            name, lambda: GraphQLObjectType(name, fields, description=text, extensions=extensions)
        )

    def enum(self, name: str, values: Mapping[str, str | None], text: str | None) -> GraphQLEnumType:
        """Return the enum called `name`. values: their descriptions."""
        made = {value: GraphQLEnumValue(value, description=about) for value, about in values.items()}
        return self.once(name, lambda: GraphQLEnumType(name, made, description=text))

    def order_by(self) -> GraphQLEnumType:
        """Return the enum of the six orderings."""
        return self.enum("order_by", ORDERINGS, "column ordering options")

    def select_columns(self, view: TableView) -> GraphQLEnumType | None:
        """Return the enum of readable columns, or None without such columns."""
        if view.select is None or not view.select.columns:
            return None
        values = dict.fromkeys(sorted(view.select.columns), "column name")
        text = f'select columns of table "{view.tracked.table.name}"'
        return self.enum(f"{view.name}_select_column", values, text)


def argument(type_: AnyType, description: str | None = None, **marks: Any) -> GraphQLArgument:
    """Make an argument with its marks."""
    return GraphQLArgument(type_, description=description, extensions=marks)


def input_field(type_: AnyType, description: str | None = None, **marks: Any) -> GraphQLInputField:
    """Make a field of an input object with its marks."""
    return GraphQLInputField(type_, description=description, extensions=marks)


def list_of(type_: AnyType) -> AnyType:
    """Make a list of non-null items."""
    return GraphQLList(GraphQLNonNull(type_))


def quoted(view: TableView) -> str:
    """Return the table's name as descriptions write it."""
    table = view.tracked.table
    return f'"{table.name}"' if table.schema == "public" else f'"{table.schema}"."{table.name}"'
