"""What the buttons of the page do in the sandbox; each returns a sentence of what it did."""

import json
import threading
from typing import Protocol

import httpx
import psycopg
from psycopg import sql

from sandbox.page.render import CHAIN
from sandbox.payloads import load_samples
from sandbox.stack.services import NotReady
from sandbox.stack.stack import Sandbox

SWITCHES = {"kill_switch": "Kill switch", "processing_paused": "Pause"}
JSON = {"Content-Type": "application/json"}
TIMEOUT_SECONDS = 10


class Refused(Exception):
    """A button that does not fit; the message says why."""


class Part(Protocol):
    """A server of the sandbox."""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def wait_ready(self) -> None: ...


class Buttons:
    """The buttons of one sandbox. One part at a time is stopped or started."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._stopped: set[str] = set()
        self._lock = threading.Lock()

    @property
    def database_url(self) -> str:
        return self._sandbox.database_url

    def running(self) -> dict[str, bool]:
        """Return whether each part runs."""
        return {name: name not in self._stopped for name in CHAIN}

    def send_leads(self, count: int) -> str:
        """Let Pancake's stand-in make new leads and deliver them as Pancake does."""
        self._require("pancake")
        answer = httpx.post(
            f"{self._sandbox.pancake_url}/control/leads", json={"count": count}, timeout=TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        return f"Pancake delivers {count} new {'lead' if count == 1 else 'leads'}."

    def send_last_again(self) -> str:
        """Deliver the newest body once more."""
        with psycopg.connect(self.database_url) as db_connection:
            row = db_connection.execute(
                "SELECT payload FROM pancake_webhook_event WHERE payload IS NOT NULL ORDER BY id DESC LIMIT 1"
            ).fetchone()
        if row is None:
            raise Refused("there is no lead yet")
        return self._deliver(json.dumps(row[0], ensure_ascii=False).encode())

    def send_sample(self, name: str) -> str:
        for sample in load_samples():
            if sample.name == name:
                return self._deliver(sample.body)
        raise Refused("there is no such sample")

    def process_again(self, event_id: int) -> str:
        """Set an event to received, as a person does in the console."""
        with psycopg.connect(self.database_url) as db_connection:
            try:
                done = db_connection.execute(
                    "UPDATE pancake_webhook_event SET status = 'received' WHERE id = %s", [event_id]
                ).rowcount
            except psycopg.errors.CheckViolation as error:
                raise Refused("it is being processed") from error
        return f"Event {event_id} is processed again." if done else "There is no such event."

    def process_held(self) -> str:
        """Set all held events to received."""
        with psycopg.connect(self.database_url) as db_connection:
            done = db_connection.execute(
                "UPDATE pancake_webhook_event SET status = 'received' WHERE status LIKE 'skipped%'"
            ).rowcount
        return f"{done} held {'lead is' if done == 1 else 'leads are'} processed again."

    def turn(self, name: str, state: str) -> str:
        if name not in SWITCHES or state not in ("on", "off"):
            raise Refused("there is no such switch")
        with psycopg.connect(self.database_url) as db_connection:
            update = sql.SQL("UPDATE view_pancake_setting SET {} = %s").format(sql.Identifier(name))
            db_connection.execute(update, [state == "on"])
        return f"{SWITCHES[name]} is {state}."

    def run_part(self, name: str, action: str) -> str:
        """Stop a part, or start it and wait until it is ready."""
        if name not in CHAIN or action not in ("stop", "start"):
            raise Refused("there is no such part")
        part: Part = getattr(self._sandbox, name)
        with self._lock:
            if (action == "stop") == (name in self._stopped):
                return f"{CHAIN[name][0]}: nothing to do."
            if action == "stop":
                part.stop()
                self._stopped.add(name)
                return f"{CHAIN[name][0]}: stopped. Send a lead, then start it again."
            try:
                part.start()
                part.wait_ready()
            except NotReady as error:
                raise Refused(f"{CHAIN[name][0]} does not start, see its log") from error
            self._stopped.discard(name)
            return f"{CHAIN[name][0]}: runs again. What waited comes within a minute."

    def _deliver(self, body: bytes) -> str:
        """Post a body to the edge as Pancake does; the answer is what Pancake sees."""
        self._require("edge")
        answer = httpx.post(
            self._sandbox.webhook_url, content=body, headers=JSON, timeout=TIMEOUT_SECONDS
        ).raise_for_status()
        return f"Delivered: the answer to Pancake is {answer.json().get('status', 'ok')}."

    def _require(self, name: str) -> None:
        if name in self._stopped:
            raise Refused(f"{CHAIN[name][0]} is stopped: start it first")
