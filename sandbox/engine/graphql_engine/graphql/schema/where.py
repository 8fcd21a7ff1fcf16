"""Input types of `where`: <table>_bool_exp and <scalar>_comparison_exp."""

from graphql import GraphQLBoolean, GraphQLInputField, GraphQLInputObjectType

from graphql_engine.catalog import Column, Type
from graphql_engine.graphql.model.conditions import TEXT, TEXTS, array_of, operand_type
from graphql_engine.graphql.model.names import NUMERIC, STRINGS, scalar_name
from graphql_engine.graphql.model.views import TableView
from graphql_engine.graphql.schema.refused import of_inputs
from graphql_engine.graphql.schema.types import Builder, input_field, list_of, quoted

Fields = dict[str, GraphQLInputField]
EQUALITY = ("_eq", "_neq", "_gt", "_lt", "_gte", "_lte")
LISTS = ("_in", "_nin")
STRING_OPERATORS = {
    "_like": "does the column match the given pattern",
    "_nlike": "does the column NOT match the given pattern",
    "_ilike": "does the column match the given case-insensitive pattern",
    "_nilike": "does the column NOT match the given case-insensitive pattern",
    "_similar": "does the column match the given SQL regular expression",
    "_nsimilar": "does the column NOT match the given SQL regular expression",
    "_regex": "does the column match the given POSIX regular expression, case sensitive",
    "_iregex": "does the column match the given POSIX regular expression, case insensitive",
    "_nregex": "does the column NOT match the given POSIX regular expression, case sensitive",
    "_niregex": "does the column NOT match the given POSIX regular expression, case insensitive",
}
ARRAY_OPERATORS = {
    "_contains": "does the array contain the given value",
    "_contained_in": "is the array contained in the given array value",
}
JSONB_OPERATORS = {
    "_contains": "does the column contain the given json value at the top level",
    "_contained_in": "is the column contained in the given json value",
    "_has_key": "does the string exist as a top-level key in the column",
    "_has_keys_any": "do any of these strings exist as top-level keys in the column",
    "_has_keys_all": "do all of these strings exist as top-level keys in the column",
}
LTREE_OPERATORS = {
    "_ancestor": "is the left argument an ancestor of right (or equal)?",
    "_ancestor_any": "does array contain an ancestor of `ltree`?",
    "_descendant": "is the left argument a descendant of right (or equal)?",
    "_descendant_any": "does array contain a descendant of `ltree`?",
    "_matches": "does `ltree` match `lquery`?",
    "_matches_any": "does `ltree` match any `lquery` in array?",
    "_matches_fulltext": "does `ltree` match `ltxtquery`?",
}
LIST_OPERATORS = ("_has_keys_any", "_has_keys_all", "_ancestor_any", "_descendant_any", "_matches_any")


def bool_exp(b: Builder, view: TableView) -> GraphQLInputObjectType:
    """Make `<table>_bool_exp`."""
    text = f"Boolean expression to filter rows from the table {quoted(view)}. All fields are combined with"
    refused = of_inputs(view.tracked)
    return b.inputs(
        f"{view.name}_bool_exp", lambda: _bool_fields(b, view), f"{text} a logical 'AND'.", refused=refused
    )


def _bool_fields(b: Builder, view: TableView) -> Fields:
    own = bool_exp(b, view)
    fields: Fields = {
        "_and": input_field(list_of(own), strict=True),
        "_not": input_field(own, strict=True),
        "_or": input_field(list_of(own), strict=True),
    }
    if view.select is None:
        return fields
    for name, column in view.select.columns.items():
        fields[name] = input_field(comparison_of(b, column.type), strict=True)
    for rel, target in b.views.relationships(view):
        fields[rel.name] = input_field(bool_exp(b, target), strict=True)
    return fields


def comparison_of(b: Builder, type_: Type) -> GraphQLInputObjectType:
    """Make the comparison type of a PostgreSQL type."""
    scalar = scalar_name(type_.element or type_)
    name = f"{scalar}_array_comparison_exp" if type_.element else f"{scalar}_comparison_exp"
    text = f'Boolean expression to compare columns of type "{scalar}".'
    text += " All fields are combined with logical 'AND'."
    return b.inputs(name, lambda: _comparison_fields(b, type_), text)


def _comparison_fields(b: Builder, type_: Type) -> Fields:
    value = b.value_type(type_)
    fields: Fields = {}
    if type_.internal == "jsonb":
        fields["_cast"] = input_field(_cast(b, type_), strict=True)
    for op in EQUALITY:
        fields[op] = input_field(value, column=type_, strict=True)
    for op in LISTS:
        fields[op] = input_field(list_of(value), column=array_of(type_), items=True, strict=True)
    fields["_is_null"] = input_field(GraphQLBoolean, strict=True)
    described: dict[str, str] = {}
    if type_.internal in STRINGS:
        described = STRING_OPERATORS
    elif type_.element is not None:
        described = ARRAY_OPERATORS
    elif type_.internal == "jsonb":
        described = JSONB_OPERATORS
    elif type_.internal == "ltree":
        described = LTREE_OPERATORS
    for op, text in described.items():
        right = operand_type(op, type_)
        items, strict = op in LIST_OPERATORS, op != "_has_key"
        shown = b.value_type(TEXTS if op == "_matches_any" else right)
        fields[op] = input_field(shown, text, column=right, items=items, strict=strict)
    return fields


def _cast(b: Builder, type_: Type) -> GraphQLInputObjectType:
    fields = {"String": input_field(comparison_of(b, TEXT), strict=True)}
    return b.inputs(f"{scalar_name(type_)}_cast_exp", fields)


def numeric_columns(columns: dict[str, Column]) -> dict[str, Column]:
    """Return the columns that can be summed."""
    return {n: c for n, c in columns.items() if c.type.element is None and c.type.internal in NUMERIC}
