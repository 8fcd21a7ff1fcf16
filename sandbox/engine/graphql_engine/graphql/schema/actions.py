"""Actions and custom types of the metadata as GraphQL types. Facts: the engine's `GraphQL/Schema/Action`."""

from collections.abc import Callable
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLEnumValue,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    ListTypeNode,
    NamedTypeNode,
    NonNullTypeNode,
    TypeNode,
    parse_type,
)

from graphql_engine.graphql.schema.refused import is_asynchronous
from graphql_engine.graphql.schema.roots import Fields, Root, root
from graphql_engine.graphql.schema.types import AnyType, Builder, argument, input_field

Json = dict[str, Any]

RELATED = "relationship of an action's output"


class Actions:
    """Add the actions that a role may call to its root fields."""

    def __init__(self, b: Builder, metadata: Json) -> None:
        self.b = b
        self.actions = metadata.get("actions") or []
        custom = metadata.get("custom_types") or {}
        self.objects = {item["name"]: item for item in custom.get("objects") or []}
        self.inputs = {item["name"]: item for item in custom.get("input_objects") or []}
        self.enums = {item["name"]: item for item in custom.get("enums") or []}

    def root_fields(self) -> tuple[Fields, Fields]:
        """Return (query fields, mutation fields)."""
        queries: Fields = {}
        mutations: Fields = {}
        for action in self.actions:
            role = self.b.views.role
            permitted = any(p["role"] == role for p in action.get("permissions") or [])
            if is_asynchronous(action) or not (role == "admin" or permitted):
                continue
            is_query = action["definition"].get("type", "mutation") == "query"
            (queries if is_query else mutations)[action["name"]] = self._call(action)
        return queries, mutations

    def _call(self, action: Json) -> GraphQLField:
        output = self.output_type(action["definition"]["output_type"])
        return root(output, self._arguments(action), action.get("comment"), Root("action", action=action))

    def _arguments(self, action: Json) -> dict[str, GraphQLArgument]:
        return {
            item["name"]: argument(
                self.input_type(item["type"]), item.get("description"), action_argument=True
            )
            for item in sorted(
                action["definition"].get("arguments") or [], key=lambda each: str(each["name"])
            )
        }

    def input_type(self, spelled: str) -> AnyType:
        return self._resolve(parse_type(spelled), self._named_input)

    def output_type(self, spelled: str) -> AnyType:
        return self._resolve(parse_type(spelled), self._named_output)

    def _resolve(self, node: TypeNode, named: Callable[[str], AnyType]) -> AnyType:
        if isinstance(node, NonNullTypeNode):
            return GraphQLNonNull(self._resolve(node.type, named))
        if isinstance(node, ListTypeNode):
            return GraphQLList(self._resolve(node.type, named))
        assert isinstance(node, NamedTypeNode)
        return named(node.name.value)

    def _named_input(self, name: str) -> AnyType:
        if name not in self.inputs:
            return self._leaf(name)
        item = self.inputs[name]

        def fields() -> dict[str, GraphQLInputField]:
            return {
                f["name"]: input_field(self.input_type(f["type"]), f.get("description"))
                for f in item["fields"]
            }

        text = item.get("description")
        return self.b.once(name, lambda: GraphQLInputObjectType(name, fields, description=text))

    def _named_output(self, name: str) -> AnyType:
        if name not in self.objects:
            return self._leaf(name)
        item = self.objects[name]
        text = item.get("description")
        return self.b.once(
            name,
            lambda: GraphQLObjectType(
                name,
                lambda: self._object_fields(item),
                description=text,
                extensions={"refused": {rel["name"]: RELATED for rel in item.get("relationships") or []}},
            ),
        )

    def _leaf(self, name: str) -> AnyType:
        if name not in self.enums:
            return self.b.named_scalar(name)
        item = self.enums[name]
        values = {
            v["value"]: GraphQLEnumValue(v["value"], description=v.get("description")) for v in item["values"]
        }
        text = item.get("description")
        return self.b.once(name, lambda: GraphQLEnumType(name, values, description=text))

    def _object_fields(self, item: Json) -> Fields:
        return {
            f["name"]: GraphQLField(self.output_type(f["type"]), description=f.get("description"))
            for f in item["fields"]
        }
