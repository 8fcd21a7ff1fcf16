"""GraphQL over the actions alone, for an engine that tracks no table."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    execute,
    parse,
    print_ast,
    validate,
)

from sandbox.hasura.auth import Session
from sandbox.hasura.errors import QErr

if TYPE_CHECKING:
    from sandbox.hasura.engine import Engine

COMMON_SCALARS = ("bigint", "date", "json", "jsonb", "numeric", "timestamptz", "timestamp", "uuid")
BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}


def build_action_schema(metadata: Mapping[str, Any], session: Session) -> GraphQLSchema:
    """The schema of the actions that a role may call."""
    types = metadata.get("custom_types", {})
    lines: list[str] = []
    known = set(BUILT_IN)
    for described in types.get("scalars", []):
        lines.append(f"scalar {described['name']}")
        known.add(described["name"])
    for described in types.get("enums", []):
        lines.append(f"enum {described['name']} {{ {' '.join(v['value'] for v in described['values'])} }}")
        known.add(described["name"])
    for kind, word in (("objects", "type"), ("input_objects", "input")):
        for described in types.get(kind, []):
            fields = " ".join(f"{f['name']}: {f['type']}" for f in described["fields"])
            lines.append(f"{word} {described['name']} {{ {fields} }}")
            known.add(described["name"])
    roots: dict[str, list[str]] = {"query": ["no_queries_available: String"], "mutation": []}
    for action in metadata.get("actions", []):
        if session.is_admin or any(p["role"] == session.role for p in action.get("permissions", [])):
            roots[action["definition"]["type"]].append(_root_field(action))
    text = "\n".join([*lines, f"type query_root {{ {' '.join(roots['query'])} }}"])
    schema = "schema { query: query_root"
    if roots["mutation"]:
        text += f"\ntype mutation_root {{ {' '.join(roots['mutation'])} }}"
        schema += " mutation: mutation_root"
    used = set(re.findall(r"[_A-Za-z]\w*", text))
    scalars = [f"scalar {name}" for name in COMMON_SCALARS if name in used - known]
    return build_schema("\n".join([*scalars, text, schema + " }"]))


def _root_field(action: dict[str, Any]) -> str:
    definition = action["definition"]
    arguments = ", ".join(f"{a['name']}: {a['type']}" for a in definition.get("arguments", []))
    output = "uuid!" if definition.get("kind") == "asynchronous" else definition["output_type"]
    return f"{action['name']}{f'({arguments})' if arguments else ''}: {output}"


async def run_actions(
    engine: "Engine", session: Session, query: str, variables: dict[str, Any], operation: str | None
) -> dict[str, Any]:
    """Execute one operation over the actions; returns its data or raises QErr."""
    schema = build_action_schema(engine.metadata, session)
    try:
        document = parse(query)
    except GraphQLError as error:
        raise QErr("validation-failed", "not a valid graphql query", "$.query") from error
    if errors := validate(schema, document):
        raise QErr("validation-failed", errors[0].message)

    async def resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        if info.path.prev is not None:
            return source.get(info.field_name)
        nodes = [print_ast(node) for node in document.definitions]
        return await engine.call_action(session, info.field_name, arguments, query or nodes[0])

    result = execute(
        schema, document, variable_values=variables, operation_name=operation, field_resolver=resolve
    )
    answer = result if isinstance(result, ExecutionResult) else await result
    if answer.errors:
        original = answer.errors[0].original_error
        if isinstance(original, QErr):
            raise original
        raise QErr("validation-failed", answer.errors[0].message)
    return answer.data or {}
