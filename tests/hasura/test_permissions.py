"""The permissions of the metadata: which roles see and write which columns."""

import re
from pathlib import Path
from typing import Any

import psycopg
import yaml

ROOT = Path(__file__).parents[2]
METADATA = ROOT / "hasura" / "metadata"
SECRET = re.compile(r"hash|token_sha256|encrypted|^raw$|claim_id|^(?!has_).*(secret|api_key)")


def load(name: str) -> Any:
    return yaml.safe_load((METADATA / name).read_text("utf-8"))


TABLES: list[dict[str, Any]] = [
    load(f"databases/default/tables/{path.name}")
    for path in sorted((METADATA / "databases/default/tables").glob("public_*.yaml"))
]


def permissions() -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return (table, kind, role, permission) for every permission."""
    return [
        (table["table"]["name"], key.removesuffix("_permissions"), item["role"], item["permission"])
        for table in TABLES
        for key in table
        if key.endswith("_permissions")
        for item in table[key]
    ]


def test_only_crm_admin_sees_our_tables_and_managers_the_report() -> None:
    assert {role for _, _, role, _ in permissions()} == {"crm_admin", "crm_manager"}
    assert {(table, kind) for table, kind, role, _ in permissions() if role == "crm_manager"} == {
        ("view_pancake_report_owner", "select"), ("view_pancake_report_source", "select"),
    }  # fmt: skip


def test_every_column_is_named_and_exists(database: str) -> None:
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
    known: dict[str, set[str]] = {}
    for table, column in rows:
        known.setdefault(table, set()).add(column)
    for table, kind, _, permission in permissions():
        if kind == "delete":
            continue
        columns = permission["columns"]
        assert isinstance(columns, list), f"{table}: every column is named, none by *"
        assert set(columns) <= known[table], (table, kind)
    for found in TABLES:
        assert found["table"]["name"] in known


def test_no_role_can_read_a_secret_hash_or_raw_body() -> None:
    for table, kind, _, permission in permissions():
        assert not [c for c in permission.get("columns", []) if SECRET.search(c)], (table, kind)
