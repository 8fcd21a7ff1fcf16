"""select, update and delete as JSON, as the console sends them for its table editor; they run as GraphQL.

Facts: documentation of the schema/query API; recorded answers of a genuine engine of v2.48.10.
"""

from typing import Any

from graphql_engine.auth import Session
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr, json_path, unsupported
from graphql_engine.graphql.run.execute import run_operation
from graphql_engine.metadata.access import Json, dict_of, find_table, qualified, required
from graphql_engine.rawjson import dumps, kind_of, loads

OPERATORS = {"set": "_set", "inc": "_inc"}
REFUSED = {"insert", "count"}


class Target:
    """The table of a command."""

    def __init__(self, engine: Engine, session: Session, args: Json) -> None:
        name = required(args, "table")
        self.engine = engine
        self.session = session
        try:
            entry = find_table(engine.metadata, name, args.get("source"))
        except QErr as error:
            raise error.under("table") from error
        schema, plain = qualified(name)
        default = plain if schema == "public" else f"{schema}_{plain}"
        self._configuration: Json = entry.get("configuration") or {}
        self.name = self._configuration.get("custom_name") or default
        self.columns = list(engine.catalog.tables[schema, plain].columns)

    def check_columns(self, columns: list[Any], path: str, *, numbered: bool = True) -> None:
        """Raise QErr for a column that does not exist."""
        for index, column in enumerate(columns):
            place = f"{path}[{index}]" if numbered else path
            if not isinstance(column, str):
                raise unsupported("a relationship among the columns of a data command", place)
            if column != "*" and column not in self.columns:
                raise QErr("permission-denied", f'no such column exists : "{column}"', place)

    def field(self, kind: str) -> str:
        """Return the name of a root field, custom ones included."""
        default = self.name if kind == "select" else f"{kind}_{self.name}"
        custom = (self._configuration.get("custom_root_fields") or {}).get(kind)
        if isinstance(custom, dict):
            custom = custom.get("name")
        return custom or default

    async def run(self, text: str, variables: Json) -> Any:
        """Return the value of the root field. Raises QErr with the path of these commands."""
        try:
            given = {key: value for key, value in variables.items() if value is not None}
            data = await run_operation(self.engine, self.session, text, given, None)
        except QErr as error:
            error.path = "$"
            raise
        return data["result"]


async def select(target: Target, args: Json) -> Any:
    """Return columns of the rows of a table."""
    for key in ("limit", "offset"):
        _check_number(args.get(key), key)
    columns = required(args, "columns")
    target.check_columns(columns, "$.columns")
    listed = " ".join(target.columns if "*" in columns else columns)
    text = (
        f"query ($where: {target.name}_bool_exp, $order_by: [{target.name}_order_by!], $limit: Int,"
        f" $offset: Int) {{ result: {target.field('select')}"
        f"(where: $where, order_by: $order_by, limit: $limit, offset: $offset) {{ {listed} }} }}"
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


async def update(target: Target, args: Json) -> Any:
    declared = [f"$where: {target.name}_bool_exp!"]
    passed, variables = ["where: $where"], {"where": where(required(args, "where"))}
    for key in ("$mul", "$default"):
        if args.get(key):
            raise unsupported(key)
    for key, operator in OPERATORS.items():
        given = args.get(f"${key}") or args.get(operator)
        if not given:
            continue
        target.check_columns(list(given), json_path(f"${key}"), numbered=False)
        declared.append(f"${key}: {target.name}_{key}_input")
        passed.append(f"{operator}: ${key}")
        variables[key] = given
    if len(passed) == 1:
        raise QErr("unexpected-payload", "atleast one of $set, $inc, $mul has to be present")
    text = (
        f"mutation ({', '.join(declared)}) {{ result: {target.field('update')}({', '.join(passed)})"
        f" {_answer(target, args)} }}"
    )
    return loads(dumps(await target.run(text, variables)))


async def delete(target: Target, args: Json) -> Any:
    text = (
        f"mutation ($where: {target.name}_bool_exp!) {{ result: {target.field('delete')}(where: $where)"
        f" {_answer(target, args)} }}"
    )
    return loads(dumps(await target.run(text, {"where": where(required(args, "where"))})))


def _answer(target: Target, args: Json) -> str:
    returning = args.get("returning")
    if not returning:
        return "{ affected_rows }"
    columns = target.columns if returning == "*" else returning
    target.check_columns(columns, "$.returning", numbered=False)
    return f"{{ affected_rows returning {{ {' '.join(columns)} }} }}"


def where(expression: Any) -> Any:
    """Translate a boolean expression: `$eq` becomes `_eq`, a bare value an equality."""
    if not isinstance(expression, dict):
        return expression
    translated: Json = {}
    for key, value in expression.items():
        name = f"_{key[1:]}" if key.startswith("$") else key
        if name in ("_and", "_or"):
            translated[name] = [where(each) for each in value]
        elif name == "_not":
            translated[name] = where(value)
        elif name.startswith("_"):
            translated[name] = value
        elif isinstance(value, dict):
            translated[name] = where(value)
        else:
            translated[name] = {"_is_null": True} if value is None else {"_eq": value}
    return translated


def order_by(given: Any) -> list[Json] | None:
    """Translate an order: `"-name"`, `{"column", "type", "nulls"}`, or lists of these."""
    if given is None:
        return None
    return [_order(item) for item in (given if isinstance(given, list) else [given])]


def _order(item: Any) -> Json:
    if isinstance(item, str):
        return {item.lstrip("+-"): "desc" if item.startswith("-") else "asc"}
    nulls = f"_nulls_{item['nulls']}" if item.get("nulls") else ""
    return {item["column"]: item.get("type", "asc") + nulls}


COMMANDS = {"select": select, "update": update, "delete": delete}


def is_command(kind: Any) -> bool:
    return isinstance(kind, str) and kind.removeprefix("pg_") in {*COMMANDS, *REFUSED}


async def run(engine: Engine, session: Session, kind: str, args: Any) -> Any:
    """Run a data command of an admin. Raises QErr `access-denied` for others, `not-supported` by name."""
    if not session.is_admin:
        raise QErr("access-denied", "restricted access : admin only")
    name = kind.removeprefix("pg_")
    if name in REFUSED:
        raise unsupported(name)
    return await COMMANDS[name](Target(engine, session, dict_of(args)), args)
