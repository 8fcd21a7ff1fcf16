"""Run GraphQL requests: the entry point of the package.

Facts: the engine's `GraphQL/Transport/HTTP` and `GraphQL/Execute`. One request uses at most one connection at
a time, so that concurrent requests cannot deadlock on the pool.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from graphql import OperationType
from psycopg import AsyncConnection

from graphql_engine.actions import call_action
from graphql_engine.auth import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, unsupported
from graphql_engine.graphql.document import (
    MAX_REQUESTS_PER_BATCH,
    Operation,
    check_allowed,
    failed,
    parse_document,
    prepare,
    single_operation,
)
from graphql_engine.graphql.model import TableView
from graphql_engine.graphql.roles import NO_QUERIES, NO_QUERIES_TEXT, RoleSchema, Root, Schemas
from graphql_engine.graphql.scalars import is_graphql_name
from graphql_engine.graphql.schema import no_mutations
from graphql_engine.graphql.selection import INTROSPECTION, Sel, Selector, introspect
from graphql_engine.graphql.sql import Context, Source, aggregate_json, announce, fetch, key_name, rows_json
from graphql_engine.graphql.write import (
    Output,
    changed_columns,
    client_where,
    delete_cte,
    insert_cte,
    key_exp,
    run_mutation,
    update_cte,
)
from graphql_engine.rawjson import Raw, dumps, kind_of

Json = dict[str, Any]
NewContext = Callable[[], Context]
Conn = AsyncConnection[Any]
WRITES = {"insert", "insert_one", "update", "update_by_pk", "delete", "delete_by_pk"}
READS = {"select", "select_by_pk", "select_aggregate"}


def read_statement(ctx: Context, root: Root, sel: Sel) -> str:
    view = root.view
    assert view is not None
    table = key_name(view.tracked.table.key)
    source = Source(table, args=sel.args)
    if root.kind == "select_by_pk":
        source = Source(table, extra=key_exp(view, sel.args), single=True)
    if root.kind == "select_aggregate":
        body = aggregate_json(ctx, view, sel, source)
    else:
        body = rows_json(ctx, view, sel.subs, source)
    return f"SELECT ({body})::text"


async def read(conn: Conn, ctx: Context, root: Root, sel: Sel) -> Raw:
    """Run a root field that reads. Raises QErr."""
    row = await fetch(conn, read_statement(ctx, root, sel), ctx.params)
    return Raw("null" if row[0] is None else row[0])


async def write(conn: Conn, new_context: NewContext, root: Root, sel: Sel) -> Raw:
    """Run a root field that writes, inside the transaction of `conn`. Raises QErr."""
    view = root.view
    assert view is not None
    path = ("selectionSet", sel.name, "args")
    output = Output(view, sel.subs, root.kind in ("insert_one", "update_by_pk", "delete_by_pk"))
    if root.kind in ("insert", "insert_one"):
        word = "object" if root.kind == "insert_one" else "objects"
        objects = [sel.args["object"]] if root.kind == "insert_one" else sel.args["objects"]
        try:
            return await _insert(conn, new_context(), view, objects, output)
        except QErr as error:
            raise error.under(*path, word) if error.path == "$" else error from None
    if root.kind in ("update", "update_by_pk"):
        return await _update(conn, new_context(), view, sel.args, output)
    ctx = new_context()
    where = key_exp(view, sel.args) if root.kind == "delete_by_pk" else client_where(ctx, view, sel.args)
    return await run_mutation(conn, ctx, delete_cte(ctx, view, where), output)


async def _insert(conn: Conn, ctx: Context, view: TableView, objects: list[Json], output: Output) -> Raw:
    assert view.insert is not None
    if not objects:
        return output.empty()
    columns = view.insert.columns
    rows = [{columns[name].name: value for name, value in item.items()} for item in objects]
    return await run_mutation(conn, ctx, insert_cte(ctx, view, rows), output)


async def _update(conn: Conn, ctx: Context, view: TableView, args: Json, output: Output) -> Raw:
    keys = args.get("pk_columns")
    where = key_exp(view, keys) if keys is not None else client_where(ctx, view, args)
    cte = update_cte(ctx, view, changed_columns(view, args), where)
    return output.empty() if cte is None else await run_mutation(conn, ctx, cte, output)


log = logging.getLogger("graphql_engine.actions")


async def run_action(engine: Engine, session: Session, text: str, action: Json, sel: Sel) -> Any:
    """Call the handler of an action; return what is selected of its output. Raises QErr."""
    try:
        output = await call_action(engine, session, action, sel.args, text)
    except QErr as error:
        # As the engine's `http-log` does: with request and response, for every role.
        if error.internal is not None and "http-log" in engine.settings.enabled_log_types:
            log.error("http-log: %s", dumps(error.as_api(include_internal=True)))
        raise
    return _pick(output, sel.subs)


def _pick(value: Any, sels: list[Sel]) -> Any:
    if isinstance(value, list):
        return [_pick(item, sels) for item in value]
    if not sels or not isinstance(value, dict):
        return value  # as in the engine, only the outer object was checked
    return {s.alias: s.type_name if s.is_typename else _pick(value.get(s.name), s.subs) for s in sels}


IN_DATABASE = READS | WRITES
REQUEST = "Hasura.GraphQL.Transport.HTTP.Protocol.GQLReq(GQLReq)"
NO_SUBSCRIPTIONS = "subscriptions are not supported over HTTP, use websockets instead"

_SCHEMAS: WeakKeyDictionary[Engine, Schemas] = WeakKeyDictionary()


def schemas_of(engine: Engine) -> Schemas:
    """Return the schemas of the engine; they are built again when its metadata or catalog was replaced."""
    cached = _SCHEMAS.get(engine)
    if cached is None or cached.catalog is not engine.catalog or cached.metadata is not engine.metadata:
        cached = Schemas(engine.metadata, engine.catalog)
        _SCHEMAS[engine] = cached
    return cached


async def execute(engine: Engine, session: Session, request: Any) -> Any:
    """Return the body of a response on /v1/graphql, for one request or a batch. Never raises QErr."""
    if isinstance(request, list):
        if len(request) > MAX_REQUESTS_PER_BATCH:
            error = failed(f"a batch may hold at most {MAX_REQUESTS_PER_BATCH} requests")
            return {"errors": [error.as_graphql()]}
        try:
            requests = [_read_item(index, item) for index, item in enumerate(request)]
        except QErr as error:
            return {"errors": [error.as_graphql()]}
        return [await _answer(engine, session, item) for item in requests]
    try:
        return await _answer(engine, session, read_request(request))
    except QErr as error:
        return {"errors": [error.as_graphql()]}


async def _answer(engine: Engine, session: Session, request: tuple[str, Json, str | None]) -> Json:
    try:
        return {"data": await run_operation(engine, session, *request)}
    except QErr as error:
        return {"errors": [error.as_graphql(include_internal=session.is_admin)]}


def _read_item(index: int, item: Any) -> tuple[str, Json, str | None]:
    try:
        return read_request(item)
    except QErr as error:
        raise error.under(index) from None


def read_request(request: Any) -> tuple[str, Json, str | None]:
    """Return document, variables and name of the operation. Raises QErr for another shape."""
    if not isinstance(request, dict):
        raise QErr("parse-failed", f"parsing {REQUEST} failed, {_expected('Object', request)}")
    if "query" not in request:
        raise QErr("parse-failed", f'parsing {REQUEST} failed, key "query" not found')
    text, variables, name = request["query"], request.get("variables"), request.get("operationName")
    if not isinstance(text, str):
        raise QErr("parse-failed", f"parsing Text failed, {_expected('String', text)}", "$.query")
    if variables is not None and not isinstance(variables, dict):
        raise QErr("parse-failed", f"parsing HashMap failed, {_expected('Object', variables)}", "$.variables")
    if name is not None and not isinstance(name, str):
        raise QErr("parse-failed", f"parsing Name failed, {_expected('String', name)}", "$.operationName")
    if name is not None and not is_graphql_name(name):
        raise QErr("parse-failed", f"{name} is not valid GraphQL name", "$.operationName")
    extensions = request.get("extensions")
    if isinstance(extensions, dict) and "persistedQuery" in extensions:
        raise QErr("not-supported", "Automatic Persisted Queries is not enabled")
    return text, variables or {}, name


def _expected(kind: str, value: Any) -> str:
    return f"expected {kind}, but encountered {kind_of(value)}"


async def run_operation(
    engine: Engine, session: Session, document_text: str, variables: Json | None, operation_name: str | None
) -> Json:
    """Return the `data` of one operation. Raises QErr."""
    try:
        if engine.settings.enable_allow_list and not session.is_admin:
            check_allowed(engine.metadata, document_text)
        node, fragments = single_operation(parse_document(document_text), operation_name)
        role = schemas_of(engine).of(session.role, session.is_admin or session.backend_only)
        if node.operation is OperationType.MUTATION and role.schema.mutation_type is None:
            # Before the variables are looked at; queries and subscriptions have theirs checked first.
            raise no_mutations(engine.metadata, node)
        operation = prepare(document_text, node, fragments, variables or {})
        _refuse_types(role, operation)
        if operation.kind == "subscription":
            raise QErr("unexpected-payload", NO_SUBSCRIPTIONS)
        run = _Run(engine, session, role, operation)
        return await run.all(run.select())
    except RecursionError:
        raise failed("the query is nested too deeply") from None


def _refuse_types(role: RoleSchema, operation: Operation) -> None:
    for variable in operation.variables.values():
        name = variable.spelled.strip("[]!")
        if name in role.refused_types:
            raise unsupported(f'the type "{name}" of an {role.refused_types[name]}')


@dataclass
class _Run:
    engine: Engine
    session: Session
    role: RoleSchema
    operation: Operation

    def select(self) -> list[Sel]:
        """Return the selected root fields. Raises QErr for what the schema of the role does not have."""
        schema = self.role.schema
        root = schema.mutation_type if self.operation.kind == "mutation" else schema.query_type
        assert root is not None
        return Selector(self.operation).root(root)

    def new_context(self) -> Context:
        return Context(self.role, self.session)

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
        if sel.name == NO_QUERIES and self.role.is_empty:
            return NO_QUERIES_TEXT
        root = _root(sel)
        if root.kind in READS:
            async with self.engine.pool.connection() as conn:
                return await read(conn, self.new_context(), root, sel)
        if root.kind in WRITES:
            return (await self._transaction([sel]))[sel.alias]
        return await run_action(self.engine, self.session, self.operation.text, root.action, sel)


def _root(sel: Sel) -> Root:
    assert sel.definition is not None
    root: Root = sel.definition.extensions["root"]
    return root
