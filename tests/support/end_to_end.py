"""The whole system as a client sees it: addresses, rows, notifications sent."""

import asyncio
import base64
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner, Result

from ops.cli import app
from proofs.incidents.faults import metadata_api
from proofs.sender import tick
from sandbox.edge import missing_packages
from sandbox.postgres.server import free_port
from sandbox.processes import Processes, Service
from sandbox.stack.observer import Observer
from sandbox.stack.stack import Sandbox
from tests.support.handlers import DatabaseRows
from tests.support.waiting import eventually

needs_edge = pytest.mark.skipif(
    bool(missing_packages()), reason=f"the real edge needs Debian's {', '.join(missing_packages())}"
)
TABLES = {
    "pancake_webhook_event": "id", "account": "id", "contact_book": "id", "ticket": "id",
    "pancake_assignee": "id", "customer_consent": "account_id",
}  # fmt: skip
"""The column by which a snapshot is ordered."""


def query(url: str, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
    """Run one statement, or several without values, in a session of its own; return the rows, if any."""
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as session:
        cursor = session.execute(statement.encode(), values or None)
        return [] if cursor.description is None else cursor.fetchall()


def log_lines(log: str, **fields: object) -> list[dict[str, Any]]:
    """Return the lines of a log in JSON that have these fields."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if fields.items() <= line.items()]


@dataclass(frozen=True)
class EndToEndHarness(DatabaseRows):
    """The addresses of a running system; `sandbox` is None if the test must not stop its services."""

    database_url: str
    hasura_url: str
    hasura_admin_secret: str
    webhook_url: str
    webhook_token: str
    notifications_url: str
    handlers_url: str
    handler_secret: str
    sandbox: Sandbox | None = None

    @classmethod
    def from_environment(cls, values: Mapping[str, str], sandbox: Sandbox | None = None) -> "EndToEndHarness":
        """Read the variables that `scripts/sandbox up --env-file` writes."""
        names = [each.name for each in fields(cls) if each.name != "sandbox"]
        return cls(**{name: values[name.upper()] for name in names}, sandbox=sandbox)

    def sql(self, statement: str, *params: Any) -> list[dict[str, Any]]:
        return query(self.database_url, statement, params)

    def snapshot(self) -> dict[str, Any]:
        """Return every row that a delivery could change, and the notifications sent."""
        rows: dict[str, Any] = {
            name: self.sql(f"SELECT * FROM {name} ORDER BY {column}") for name, column in TABLES.items()
        }
        rows["sent"] = httpx.get(f"{self.notifications_url}/sent").json()["sent"]
        return rows

    async def post(self, bodies: Sequence[bytes], at_once: int = 8) -> list[dict[str, Any]]:
        """Post to the webhook, `at_once` at a time; return the answers in the order of the bodies."""
        limit = asyncio.Semaphore(at_once)
        async with httpx.AsyncClient(timeout=60) as client:

            async def one(body: bytes) -> dict[str, Any]:
                async with limit:
                    answer = await client.post(self.webhook_url, content=body)
                    return dict(answer.raise_for_status().json())

            return list(await asyncio.gather(*(one(body) for body in bodies)))

    def metadata_api(self, kind: str, args: Mapping[str, Any]) -> Any:
        return metadata_api(self.hasura_url, self.hasura_admin_secret, kind, args)

    def tick(self, cron: str) -> str:
        """Call a cron for this moment, as the engine does; return its result."""
        return tick(self.handlers_url, self.handler_secret, cron, datetime.now(UTC))

    def retry_pending(self) -> None:
        """Make every event that the engine has not delivered due now."""
        self.sql("UPDATE hdb_catalog.event_log SET next_retry_at = NULL WHERE NOT delivered AND NOT error")

    async def leads(self, *words: str) -> Result:
        """Run an operator's command in a thread."""
        environment = {
            name.upper(): getattr(self, name)
            for name in ("database_url", "hasura_url", "hasura_admin_secret")
        }
        return await asyncio.to_thread(CliRunner().invoke, app, words, env=environment)

    def events_of(self, event_id: int) -> list[dict[str, Any]]:
        """Return the events that the engine captured for one row, oldest first."""
        return self.sql(
            """
            SELECT id, delivered, error, tries FROM hdb_catalog.event_log
            WHERE trigger_name = 'pancake_webhook_event_status_update'
                AND payload -> 'data' -> 'new' ->> 'id' = %s
            ORDER BY created_at
            """,
            str(event_id),
        )

    def observer(self) -> Observer:
        return Observer(self.database_url, self.notifications_url)


DRIVER = shutil.which("chromedriver")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--disable-lcd-text",
)  # fmt: skip
TIMEOUT_SECONDS = 60


@dataclass
class Browser:
    session: httpx.Client

    def open(self, url: str) -> None:
        self._post("/url", {"url": url})

    def run(self, script: str) -> Any:
        return self._post("/execute/sync", {"script": script, "args": []})

    def press(self, button: str) -> None:
        """Click the first button that an XPath finds, once it is there; a page may replace it meanwhile."""
        eventually(lambda: self._clicked(button), seconds=TIMEOUT_SECONDS)

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.text(), seconds=TIMEOUT_SECONDS)

    def picture(self, width: int, height: int) -> bytes:
        """Return the top of the page as PNG, also what is below the window."""
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        params = {"format": "png", "captureBeyondViewport": True, "clip": clip}
        taken = self._post("/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": params})
        return base64.b64decode(taken["data"])

    def _clicked(self, button: str) -> bool:
        """Find and click; False if the button is not there, or was replaced between the two."""
        found = self.session.post("/element", json={"using": "xpath", "value": button})
        if found.status_code != 200:
            return False
        (element,) = found.json()["value"].values()
        return self.session.post(f"/element/{element}/click", json={}).status_code == 200

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.session.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]


@contextmanager
def browsing(width: int, height: int) -> Iterator[Browser]:
    """Start a browser with a window of this size, in pixels; a narrow one is that of a phone."""
    assert DRIVER
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with Processes() as processes:
        folder = processes.directory("browser-")
        metrics = {"width": width, "height": height, "pixelRatio": 1, "touch": False}
        arguments = [*ARGUMENTS, f"--user-data-dir={folder}/profile"]
        chrome = {"args": arguments, "mobileEmulation": {"deviceMetrics": metrics}}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": chrome}}}
        Service(
            "chromedriver", [DRIVER, f"--port={port}", "--silent"], {**os.environ, "TMPDIR": str(folder)},
            url, "/status", folder / "driver.log", processes,
        ).bring_up()  # fmt: skip
        answer = httpx.post(f"{url}/session", json=wanted, timeout=TIMEOUT_SECONDS)
        assert answer.status_code == 200, answer.text
        session = f"{url}/session/{answer.json()['value']['sessionId']}"
        try:
            with httpx.Client(base_url=session, timeout=TIMEOUT_SECONDS) as client:
                yield Browser(client)
        finally:
            httpx.delete(session, timeout=TIMEOUT_SECONDS)  # ends the browser; the driver alone does not
