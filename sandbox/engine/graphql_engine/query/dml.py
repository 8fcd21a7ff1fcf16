"""insert, select, update, delete and count as JSON; they run as GraphQL with the role's permissions.

Facts: documentation of the schema/query API; the engine's tests under `v1/select`, `v1/insert` and so on.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from graphql_engine.auth.session import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, json_path, not_exists
from graphql_engine.graphql.run.execute import run_operation
from graphql_engine.metadata.access import (
    Json,
    dict_of,
    find_table,
    named,
    qualified,
    required,
    spelled,
)
from graphql_engine.query.translate import columns_text, on_conflict, order_by, where
from graphql_engine.rawjson import dumps, kind_of, loads

Command = Callable[[Engine, Session, Any], Awaitable[Any]]
COUNT_NEEDS = '; "count" is only allowed if the role has "select" permissions on the table'
OPERATORS = {"set": "_set", "inc": "_inc", "mul": "_mul", "default": "_default"}


class Target:
    """The table of a command, as the session's role sees it."""

    def __init__(self, engine: Engine, session: Session, args: Json, kind: str) -> None:
        name = required(args, "table")
        self.engine = engine
        self.session = session
        try:
            self.entry = find_table(engine.metadata, name, args.get("source"))
        except QErr as error:
            raise error.under("table") from error
        self.key = qualified(name)
        allowed = named(self.entry.get(f"{kind}_permissions", []), session.role, "role")
        if not session.is_admin and allowed is None:
            raise QErr(
                "permission-denied",
                f'{kind} on "{spelled(name)}" for role "{session.role}" is not allowed. ',
            )
        schema, plain = self.key
        default = plain if schema == "public" else f"{schema}_{plain}"
        self.name = (self.entry.get("configuration") or {}).get("custom_name") or default
        self.table = engine.catalog.tables[self.key]
        self.permission: Json = (allowed or {}).get("permission", {})

    def visible_columns(self) -> list[str]:
        """Return the columns that `*` means for this role."""
        columns = self.permission.get("columns", "*")
        return list(self.table.columns) if columns == "*" else list(columns)

    def check_columns(self, verb: str, columns: list[Any], path: str, *, numbered: bool = True) -> None:
        """Raise QErr for a column that does not exist, or that the role may not use."""
        visible = set(self.visible_columns())
        for index, column in enumerate(columns):
            place = f"{path}[{index}]" if numbered else path
            if not isinstance(column, str) or column == "*" or column in visible:
                continue
            if column in self.table.columns:
                message = f'role "{self.session.role}" does not have permission to {verb} column "{column}"'
                raise QErr("permission-denied", message, place)
            if not named(self.entry.get("computed_fields", []), column):
                raise QErr("permission-denied", f'no such column exists : "{column}"', place)

    def field(self, kind: str) -> str:
        """Return the name of a root field, custom ones included."""
        defaults = {
            "select": self.name,
            "select_aggregate": f"{self.name}_aggregate",
            "insert": f"insert_{self.name}",
            "update": f"update_{self.name}",
            "delete": f"delete_{self.name}",
        }
        custom = ((self.entry.get("configuration") or {}).get("custom_root_fields") or {}).get(kind)
        if isinstance(custom, dict):
            custom = custom.get("name")
        return custom or defaults[kind]

    async def run(self, text: str, variables: Json) -> Any:
        """Return the value of the root field. Raises QErr with the path of these commands."""
        try:
            given = {key: value for key, value in variables.items() if value is not None}
            data = await run_operation(self.engine, self.session, text, given, None)
        except QErr as error:
            error.path = "$"
            raise
        return data["result"]


async def select(engine: Engine, session: Session, args: Any) -> Any:
    """Return rows of a table with nested relationships."""
    target = Target(engine, session, dict_of(args), "select")
    for key in ("limit", "offset"):
        _check_number(args.get(key), key)
    target.check_columns("select", required(args, "columns"), "$.columns")
    selection = columns_text(target.engine, target.entry, required(args, "columns"), target.visible_columns())
    text = (
        f"query ($where: {target.name}_bool_exp, $order_by: [{target.name}_order_by!], $limit: Int,"
        f" $offset: Int) {{ result: {target.field('select')}"
        f"(where: $where, order_by: $order_by, limit: $limit, offset: $offset) {{ {selection} }} }}"
    )
    variables: Json = {"where": where(args.get("where")), "order_by": order_by(args.get("order_by"))}
    return await target.run(text, variables | {"limit": args.get("limit"), "offset": args.get("offset")})


def _check_number(value: Any, key: str) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        reason = f"parsing Int failed, expected Number, but encountered {kind_of(value)}"
        raise QErr("parse-failed", reason, f"$.{key}")
    if value < 0:
        raise QErr("not-supported", "unexpected negative value", f"$.{key}")


async def count(engine: Engine, session: Session, args: Any) -> Json:
    """Count rows, or distinct values of columns."""
    try:
        target = Target(engine, session, dict_of(args), "select")
    except QErr as error:
        if error.code == "permission-denied":
            error.message += COUNT_NEEDS
        raise
    distinct = args.get("distinct")
    for index, column in enumerate(distinct or []):
        if column not in target.table.columns:
            reason = f'no such column exists : "{column}"'
            raise QErr("permission-denied", reason, f"$.distinct[{index}]")
    counted = f"count(columns: [{', '.join(distinct)}], distinct: true)" if distinct else "count"
    text = (
        f"query ($where: {target.name}_bool_exp) {{ result: {target.field('select_aggregate')}(where: $where)"
        f" {{ aggregate {{ count: {counted} }} }} }}"
    )
    found = await target.run(text, {"where": where(args.get("where"))})
    return {"count": loads(dumps(found))["aggregate"]["count"]}


async def insert(engine: Engine, session: Session, args: Any) -> Json:
    """Insert rows, with an optional upsert."""
    target = Target(engine, session, dict_of(args), "insert")
    objects = required(args, "objects")
    known = {*target.table.columns, *_relationships(target.entry)}
    for index, item in enumerate(objects if isinstance(objects, list) else []):
        for name in item:
            if name not in known:
                raise not_exists(f'column "{name}" does not exist', f"$.objects[{index}]")
    variables: Json = {"objects": objects}
    declared, passed = f"$objects: [{target.name}_insert_input!]!", "objects: $objects"
    if args.get("on_conflict"):
        declared += f", $on_conflict: {target.name}_on_conflict"
        passed += ", on_conflict: $on_conflict"
        variables["on_conflict"] = on_conflict(target.table, args["on_conflict"], objects)
    text = f"mutation ({declared}) {{ result: {target.field('insert')}({passed}) {_answer(target, args)} }}"
    return dict(loads(dumps(await target.run(text, variables))))


def _relationships(entry: Json) -> list[str]:
    kinds = ("object_relationships", "array_relationships")
    return [item["name"] for kind in kinds for item in entry.get(kind, [])]


async def update(engine: Engine, session: Session, args: Any) -> Json:
    target = Target(engine, session, dict_of(args), "update")
    declared = [f"$where: {target.name}_bool_exp!"]
    passed, variables = ["where: $where"], {"where": where(required(args, "where"))}
    for key, operator in OPERATORS.items():
        given = args.get(f"${key}") or args.get(operator)
        if not given:
            continue
        preset = target.permission.get("set") or {}
        for column in given:
            if column in preset:
                raise QErr(
                    "not-supported",
                    f'column "{column}" is not updatable for role "{session.role}"; its value is predefined'
                    " in permission",
                    json_path(f"${key}"),
                )
        target.check_columns("update", list(given), json_path(f"${key}"), numbered=False)
        if key in ("mul", "default"):
            raise QErr("not-supported", f"${key} is not supported by this stand-in")
        declared.append(f"${key}: {target.name}_{key}_input")
        passed.append(f"{operator}: ${key}")
        variables[key] = given
    if len(passed) == 1:
        raise QErr("unexpected-payload", "atleast one of $set, $inc, $mul has to be present")
    text = (
        f"mutation ({', '.join(declared)}) {{ result: {target.field('update')}({', '.join(passed)})"
        f" {_answer(target, args)} }}"
    )
    return dict(loads(dumps(await target.run(text, variables))))


async def delete(engine: Engine, session: Session, args: Any) -> Json:
    target = Target(engine, session, dict_of(args), "delete")
    text = (
        f"mutation ($where: {target.name}_bool_exp!) {{ result: {target.field('delete')}(where: $where)"
        f" {_answer(target, args)} }}"
    )
    return dict(loads(dumps(await target.run(text, {"where": where(required(args, "where"))}))))


def _answer(target: Target, args: Json) -> str:
    returning = args.get("returning")
    if not returning:
        return "{ affected_rows }"
    everything = list(target.table.columns)
    for column in returning if isinstance(returning, list) else []:
        if isinstance(column, str) and column not in target.table.columns:
            raise QErr("permission-denied", f'no such column exists : "{column}"', "$.returning")
    columns = everything if returning == "*" else returning
    return f"{{ affected_rows returning {{ {' '.join(columns)} }} }}"


COMMANDS: dict[str, Command] = {
    name: command
    for plain, command in {
        "select": select,
        "count": count,
        "insert": insert,
        "update": update,
        "delete": delete,
    }.items()
    for name in (plain, f"pg_{plain}")
}
