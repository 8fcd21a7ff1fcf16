"""An installation before the go-live, with what a test asks of it."""

from typing import Any

import httpx
import psycopg

from sandbox.stack.bare import BareSandbox
from tests.support.leads import body, numbered_lead
from tests.support.postgres_programs import run_program

CHANGED = ("crm_master_data", "module_permission_action", "notification_template", "app_setting")
"""Diva's tables whose rows the steps change, besides accounts and contacts."""


class GoLiveSite(BareSandbox):
    """The bare sandbox, its dump, and deliveries to the URL that a command wrote."""

    def leads_environment(self) -> dict[str, str]:
        return super().leads_environment() | {"COMMIT": "0123abc"}

    def dump(self) -> str:
        """Diva's schema and the rows that the steps change, without what each dump says of itself."""
        schema = run_program(
            self.database_url, "pg_dump", "--schema-only", "--exclude-schema", "hdb_catalog"
        )  # fmt: skip
        tables = [argument for table in CHANGED for argument in ("--table", f"public.{table}")]
        rows = run_program(self.database_url, "pg_dump", "--data-only", "--inserts", *tables)
        return "\n".join(line for line in (schema + rows).splitlines() if not line.startswith(("--", "\\")))

    def deliver(self, number: int) -> str:
        """Deliver a lead as Pancake does; return the status that it is answered."""
        webhook, header = (self.folder / "webhook-url.txt").read_text().splitlines()
        name, _, value = header.partition(": ")
        answer = httpx.post(webhook, content=body(numbered_lead(number)), headers={name: value}, timeout=30)
        return str(answer.json()["status"])

    def query(self, statement: str) -> list[Any]:
        with psycopg.connect(self.database_url, autocommit=True) as db:
            return db.execute(statement.encode()).fetchall()
