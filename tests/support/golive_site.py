"""An installation before the go-live, with what a test asks of it.

Run as a program, it is `leads golive deploy` that SIGKILL ends once at each place of its actions; the file
KILL_PLACES names the places at which it was ended already.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import psycopg

from leads.cli.__main__ import main
from leads.cli.golive.deploy import actions
from leads.cli.golive.deploy.journal import Journal
from sandbox.stack.bare import BareSandbox
from tests.support.leads import body, numbered_lead
from tests.support.postgres import run_program

CHANGED = ("crm_master_data", "module_permission_action", "notification_template", "app_setting")
"""Diva's tables whose rows the steps change, besides accounts and contacts."""
NOTED_BEFORE = {"begin"}
"""Ended after this entry: the action has not begun. At others the work is done, and not noted."""
WITHOUT_WORK = {"check", "confirmed"}
_write, _running = Journal.write, actions._running


def note_snapshot(folder: Path, hours: float) -> Path:
    """Have a snapshot of that age, as `leads golive deploy` notes it; return its file."""
    dump = folder / "a.dump"
    dump.write_bytes(b"rows")
    entry = {
        "at": (datetime.now(UTC) - timedelta(hours=hours)).isoformat(), "event": "snapshot", "when": "before",
        "step": "snapshot", "file": dump.name, "sha256": sha256(b"rows").hexdigest(),
    }  # fmt: skip
    (folder / "deploy.jsonl").write_text(json.dumps(entry) + "\n")
    return dump


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


def end_once(*place: str) -> None:
    """End this process if it was not ended at this place before."""
    words, places = " ".join(place), Path(os.environ["KILL_PLACES"])
    if words not in places.read_text("utf-8").splitlines():
        with places.open("a", encoding="utf-8") as file:
            file.write(f"{words}\n")
            file.flush()
            os.fsync(file.fileno())
        os.kill(os.getpid(), signal.SIGKILL)


def write(journal: Journal, event: str, step: str, **details: Any) -> None:
    """Write the entry, and be ended before or after it."""
    place = (event, step, *map(str, details.get("argv", [])[:4]))
    if event not in NOTED_BEFORE | WITHOUT_WORK:
        end_once(*place)
    _write(journal, event, step, **details)
    if event in NOTED_BEFORE:
        end_once(*place)


@contextmanager
def running(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Be ended while a program of a step runs; it goes on without this process."""
    with _running(argv) as process:
        end_once("during", *argv[:6])
        yield process


if __name__ == "__main__":
    with mock.patch.object(Journal, "write", write), mock.patch.object(actions, "_running", running):
        main()
