"""Each operation on each table and column, tried with both roles: what is not listed is refused."""

import re
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql

from sandbox.postgres.database import run_file
from sandbox.postgres.roles import GRANTS, ROLES

COLUMNS = """
SELECT n.nspname AS schema, c.relname AS table, c.relkind = 'v' AS is_view, a.attname AS column
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'v') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY 1, 2, a.attnum
"""
OF_COLUMNS = {
    "SELECT": "EXPLAIN SELECT {column} FROM {table}",
    "INSERT": "EXPLAIN INSERT INTO {table} ({column}) VALUES (DEFAULT)",
    "UPDATE": "EXPLAIN UPDATE {table} SET {column} = DEFAULT",
}
"""PostgreSQL checks the rights before it shows the plan. DEFAULT may be given to every column."""

OF_TABLES = {
    "DELETE": "EXPLAIN DELETE FROM {table}",
    "TRUNCATE": "TRUNCATE {table}",
    "TRIGGER": "CREATE TRIGGER more BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION more()",
    "INDEX": "CREATE INDEX ON {table} ({column})",
    "ALTER": "ALTER TABLE {table} ADD COLUMN more text",
    "RENAME": "ALTER {kind} {table} RENAME TO more",
    "OWNER": "ALTER {kind} {table} OWNER TO CURRENT_USER",
    "COMMENT": "COMMENT ON {kind} {table} IS 'more'",
    "DROP": "DROP {kind} {table}",
}
LINE = re.compile(r"^ +\('([\w.]+)', '([A-Z]+)', (?:NULL|'([\w, ]+)')\),?$", re.MULTILINE)
IS_VIEW = (psycopg.errors.WrongObjectType, psycopg.errors.ObjectNotInPrerequisiteState)
"""What no role may do with a view."""

Case = tuple[str, str, str, str]
"""Role, table, operation, column ('' for an operation on the table)."""


@dataclass(frozen=True)
class Table:
    """A table or view, with its columns."""

    name: str
    is_view: bool
    columns: tuple[str, ...]

    def statement(self, template: str, column: str) -> sql.Composed:
        parts = {
            "table": sql.Identifier(*self.name.split(".")),
            "column": sql.Identifier(column),
            "kind": sql.SQL("VIEW" if self.is_view else "TABLE"),
        }
        used = {name: part for name, part in parts.items() if f"{{{name}}}" in template}
        return sql.SQL(template).format(**used)


@pytest.fixture(scope="module")
def db(migrated: psycopg.Connection) -> psycopg.Connection:
    run_file(migrated, GRANTS)
    return migrated


def tables(db: psycopg.Connection) -> list[Table]:
    found: dict[str, Table] = {}
    for schema, name, is_view, column in db.execute(COLUMNS.encode()).fetchall():
        before = found.get(f"{schema}.{name}")
        columns = (*before.columns, column) if before else (column,)
        found[f"{schema}.{name}"] = Table(f"{schema}.{name}", is_view, columns)
    return list(found.values())


def listed(all_tables: list[Table]) -> set[Case]:
    """What grant_roles.sql lists; its part for the operators begins after UNION ALL."""
    columns = {table.name: table.columns for table in all_tables}
    cases: set[Case] = set()
    for role, part in zip(ROLES, GRANTS.read_text().split("UNION ALL"), strict=True):
        for table, privilege, named in LINE.findall(part):
            of_columns = named.split(", ") if named else columns[table]
            cases |= {(role, table, privilege, column) for column in of_columns if privilege in OF_COLUMNS}
            if privilege not in OF_COLUMNS:
                cases.add((role, table, privilege, ""))
    return cases


def allowed(db: psycopg.Connection, role: str, statement: sql.Composed) -> bool:
    try:
        with db.transaction(force_rollback=True):
            db.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            db.execute(statement)
    except (psycopg.errors.InsufficientPrivilege, *IS_VIEW):
        return False
    return True


def test_what_is_not_listed_is_refused_and_what_is_listed_is_allowed(db: psycopg.Connection) -> None:
    all_tables = tables(db)
    tried: dict[Case, bool] = {}
    for role in ROLES:
        for table in all_tables:
            for operation, template in OF_COLUMNS.items():
                for column in table.columns:
                    statement = table.statement(template, column)
                    tried[role, table.name, operation, column] = allowed(db, role, statement)
            for operation, template in OF_TABLES.items():
                statement = table.statement(template, table.columns[0])
                tried[role, table.name, operation, ""] = allowed(db, role, statement)
    assert {case for case, is_allowed in tried.items() if is_allowed} == listed(all_tables)
    schemas = {table.name.partition(".")[0] for table in all_tables}
    assert schemas == {"public", "hdb_catalog", "controller"}
    assert len(tried) > 1500
