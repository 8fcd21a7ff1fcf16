"""The GraphQL schema of a role, and a cache of the schemas of all roles."""

from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DirectiveLocation,
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLDirective,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLInputObjectType,
    GraphQLInt,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    GraphQLString,
)

from graphql_engine.catalog import Catalog
from graphql_engine.errors import unsupported
from graphql_engine.graphql.model.tables import Model, build_model
from graphql_engine.graphql.model.views import RoleViews, build_views
from graphql_engine.graphql.schema.actions import Actions
from graphql_engine.graphql.schema.refused import of_roots, types_of
from graphql_engine.graphql.schema.roots import Fields, mutation_fields, query_fields
from graphql_engine.graphql.schema.types import Builder
from graphql_engine.rawjson import Raw

PLACEHOLDER = "no_queries_available"
PLACEHOLDER_TEXT = (
    "There are no queries available to the current role. Either there are no sources or remote schemas "
    "configured, or the current role doesn't have the required permissions."
)
# A type of introspection that the engine does not list among its types.
UNSHOWN = {"__DirectiveLocation"}
CACHED = GraphQLDirective(
    "cached",
    [DirectiveLocation.QUERY],
    {
        "ttl": GraphQLArgument(
            GraphQLNonNull(GraphQLInt), default_value=60, description="measured in seconds"
        ),
        "refresh": GraphQLArgument(
            GraphQLNonNull(GraphQLBoolean), default_value=False, description="refresh the cache entry"
        ),
    },
    description="whether this query should be cached (Hasura Cloud only)",
)


@dataclass
class RoleSchema:
    """The schema of one role with what its execution needs; is_empty: it has no query."""

    schema: GraphQLSchema
    views: RoleViews
    is_empty: bool
    refused_types: dict[str, str]
    introspected: dict[tuple[str, ...], Raw] = field(default_factory=dict)


def build_schema(model: Model, metadata: dict[str, Any], role: str, backend: bool) -> RoleSchema:
    """Build the schema of a role. backend: include permissions marked backend_only."""
    views = build_views(model, role, backend)
    b = Builder(views)
    action_queries, action_mutations = Actions(b, metadata).root_fields()
    queries = query_fields(b) | action_queries
    subscriptions = query_fields(b, subscription=True)
    mutations = mutation_fields(b) | action_mutations
    is_empty = not queries
    if is_empty:
        queries[PLACEHOLDER] = GraphQLField(GraphQLNonNull(GraphQLString), description=PLACEHOLDER_TEXT)
    schema = GraphQLSchema(
        _root("query_root", queries, metadata),
        _root("mutation_root", mutations, metadata, "mutation root"),
        _root("subscription_root", subscriptions, metadata),
        directives=[GraphQLIncludeDirective, GraphQLSkipDirective, CACHED],
        assume_valid=True,
    )
    shown = sorted(schema.type_map.keys() - UNSHOWN)
    schema.type_map = {name: sorted_type(schema.type_map[name]) for name in shown}
    return RoleSchema(schema, views, is_empty, types_of(metadata, model))


def sorted_type(type_: GraphQLNamedType) -> GraphQLNamedType:
    """Return the type with its fields or values in alphabetical order, as introspection shows them."""
    if isinstance(type_, GraphQLObjectType | GraphQLInputObjectType) and not type_.name.startswith("__"):
        ordered = {name: type_.fields[name] for name in sorted(type_.fields)}
        type_.fields.clear()
        type_.fields.update(ordered)
    return type_


def _root(
    name: str, fields: Fields, metadata: dict[str, Any], text: str | None = None
) -> GraphQLObjectType | None:
    if not fields:
        return None
    ordered = {key: fields[key] for key in sorted(fields)}
    return GraphQLObjectType(name, ordered, description=text, extensions={"refused": of_roots(metadata)})


class Schemas:
    """The schemas of all roles, each built on first use."""

    def __init__(self, metadata: dict[str, Any], catalog: Catalog) -> None:
        self.metadata = metadata
        self.catalog = catalog
        self.model = build_model(metadata, catalog)
        self._built: dict[tuple[str, bool], RoleSchema] = {}

    def of(self, role: str, backend: bool) -> RoleSchema:
        """Return the schema of a role. Raises QErr `not-supported` for an inherited one."""
        if any(item["role_name"] == role for item in self.metadata.get("inherited_roles") or []):
            raise unsupported(f'the inherited role "{role}"')
        key = (role, backend)
        if key not in self._built:
            self._built[key] = build_schema(self.model, self.metadata, role, backend)
        return self._built[key]
