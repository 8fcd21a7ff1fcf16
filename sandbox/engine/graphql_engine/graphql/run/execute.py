"""Run GraphQL requests: the entry point of the package.

Facts: the engine's `GraphQL/Transport/HTTP` and `GraphQL/Execute`. One request uses at most one connection at
a time, so that concurrent requests cannot deadlock on the pool.
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from graphql_engine.auth.session import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.graphql.document import allow_list, limits
from graphql_engine.graphql.document.introspect import introspect
from graphql_engine.graphql.document.operation import Operation, failed, prepare
from graphql_engine.graphql.document.selection import INTROSPECTION, Sel, Selector
from graphql_engine.graphql.run.actions import ActionRunner
from graphql_engine.graphql.run.tables import READS, WRITES, Conn, read, write
from graphql_engine.graphql.schema.roots import Root
from graphql_engine.graphql.schema.schemas import PLACEHOLDER, PLACEHOLDER_TEXT, RoleSchema, Schemas
from graphql_engine.graphql.sql.context import Context
from graphql_engine.graphql.sql.database import announce

Json = dict[str, Any]
IN_DATABASE = READS | WRITES
NO_SUBSCRIPTIONS = "subscriptions are not supported over HTTP, use websockets instead"

_SCHEMAS: WeakKeyDictionary[Engine, Schemas] = WeakKeyDictionary()


def schemas_of(engine: Engine) -> Schemas:
    """Return the schemas of the engine; they are built again when its metadata or catalog was replaced."""
    cached = _SCHEMAS.get(engine)
    if cached is None or cached.catalog is not engine.catalog or cached.metadata is not engine.metadata:
        cached = Schemas(engine.metadata, engine.catalog, engine.settings.infer_function_permissions)
        _SCHEMAS[engine] = cached
    return cached


async def execute(engine: Engine, session: Session, request: Any) -> Any:
    """Return the body of a response on /v1/graphql, for one request or a batch. Never raises QErr."""
    if isinstance(request, list):
        if len(request) > limits.MAX_REQUESTS_PER_BATCH:
            error = failed(f"a batch may hold at most {limits.MAX_REQUESTS_PER_BATCH} requests")
            return {"errors": [error.as_graphql()]}
        return [await execute(engine, session, item) for item in request]
    try:
        text, variables, name = _request(request)
        return {"data": await run_operation(engine, session, text, variables, name)}
    except QErr as error:
        return {"errors": [error.as_graphql(include_internal=session.is_admin)]}


def _request(request: Any) -> tuple[str, Json, str | None]:
    if not isinstance(request, dict):
        raise QErr("parse-failed", "Error in $: expected Object")
    if "query" not in request:
        kind = "Hasura.GraphQL.Transport.HTTP.Protocol.GQLReq(GQLReq)"
        raise QErr("parse-failed", f'parsing {kind} failed, key "query" not found')
    text, variables, name = request["query"], request.get("variables"), request.get("operationName")
    if not isinstance(text, str):
        raise QErr("parse-failed", "parsing Text failed, expected String", "$.query")
    if variables is not None and not isinstance(variables, dict):
        raise QErr("parse-failed", "parsing HashMap ~Text failed, expected Object", "$.variables")
    if name is not None and not isinstance(name, str):
        raise QErr("parse-failed", "parsing Text failed, expected String", "$.operationName")
    extensions = request.get("extensions")
    if isinstance(extensions, dict) and "persistedQuery" in extensions:
        raise QErr("not-supported", "Automatic Persisted Queries is not enabled")
    return text, variables or {}, name or None


async def run_operation(
    engine: Engine,
    session: Session,
    document_text: str,
    variables: Json | None,
    operation_name: str | None,
) -> Json:
    """Return the `data` of one operation. Raises QErr."""
    try:
        if engine.settings.enable_allow_list and not session.is_admin:
            allow_list.check(engine.metadata, document_text)
        operation = prepare(document_text, variables or {}, operation_name)
        role = schemas_of(engine).of(session.role, session.is_admin or session.backend_only)
        if operation.kind == "subscription":
            raise QErr("unexpected-payload", NO_SUBSCRIPTIONS)
        run = _Run(engine, session, role, operation)
        return await run.all(run.select())
    except RecursionError:
        raise failed("the query is nested too deeply") from None


@dataclass
class _Run:
    engine: Engine
    session: Session
    role: RoleSchema
    operation: Operation

    def select(self) -> list[Sel]:
        schema = self.role.schema
        root = schema.query_type if self.operation.kind == "query" else schema.mutation_type
        if root is None:
            raise failed("no mutations exist")
        metadata, role = self.engine.metadata, self.session.role
        depth = limits.limit_of(metadata, "depth_limit", role, limits.MAX_DEPTH)
        nodes = limits.limit_of(metadata, "node_limit", role, limits.MAX_NODES)
        return Selector(self.operation, depth, nodes).root(root)

    def new_context(self) -> Context:
        return Context(self.role, self.session, self.engine.stringify_numeric)

    async def all(self, sels: list[Sel]) -> Json:
        if self.operation.kind == "mutation" and all(
            s.is_typename or _root(s).kind in IN_DATABASE for s in sels
        ):
            return await self._transaction(sels)
        return {sel.alias: await self._one(sel) for sel in sels}

    async def _transaction(self, sels: list[Sel]) -> Json:
        async with self.engine.pool.connection() as conn, conn.transaction():
            await announce(conn, self.session)
            return {sel.alias: await self._in_transaction(conn, sel) for sel in sels}

    async def _in_transaction(self, conn: Conn, sel: Sel) -> Any:
        if sel.is_typename:
            return sel.type_name
        root = _root(sel)
        if root.kind in READS:
            return await read(conn, self.new_context(), root, sel)
        return await write(conn, self.new_context, root, sel)

    async def _one(self, sel: Sel) -> Any:
        if sel.is_typename:
            return sel.type_name
        if sel.name in INTROSPECTION:
            disabled = self.engine.metadata.get("graphql_schema_introspection") or {}
            role = self.session.role
            if role in disabled.get("disabled_for_roles", []):
                raise QErr("not-supported", f'introspection is disabled for role: "{role}"')
            return introspect(self.role.schema, self.role.introspected, self.operation, sel)
        if sel.name == PLACEHOLDER and self.role.is_empty:
            return PLACEHOLDER_TEXT
        root = _root(sel)
        if root.kind in READS:
            return await self._read(root, sel)
        if root.kind in WRITES:
            return (await self._transaction([sel]))[sel.alias]
        runner = ActionRunner(self.engine, self.session, self.operation.text, self.new_context)
        return await runner.run(root, sel)

    async def _read(self, root: Root, sel: Sel) -> Any:
        async with self.engine.pool.connection() as conn:
            if root.function is None:
                return await read(conn, self.new_context(), root, sel)
            async with conn.transaction():
                await announce(conn, self.session)
                return await read(conn, self.new_context(), root, sel)


def _root(sel: Sel) -> Root:
    assert sel.definition is not None
    root: Root = sel.definition.extensions["root"]
    return root
