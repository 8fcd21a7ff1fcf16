"""What the buttons of the page do in the sandbox; each returns a sentence of what it did."""

import json
import threading
from collections.abc import Mapping
from typing import Any, Literal, get_args

import httpx
import psycopg

from leads.domain.errors import IntegrationError
from ops import switches
from ops.clients.db_session import open_session
from ops.daily.replay import call_action, open_engine
from ops.failures import CommandFailed
from ops.switches import Setting
from sandbox.edge import NginxEdge
from sandbox.page.render import CHAIN
from sandbox.payloads import load_samples
from sandbox.processes import NotReady, Service
from sandbox.stack.stack import Sandbox

Switch = Literal["kill", "pause"]
State = Literal["on", "off"]
SETTINGS: Mapping[Switch, tuple[str, Setting]] = {
    "kill": ("Kill switch", "kill_switch"),
    "pause": ("Pause", "processing_paused"),
}
STATES = get_args(State)
HELD = ("skipped_kill_switch", "skipped_source_disabled")
REASON = "pressed on the sandbox's page"
JSON = {"Content-Type": "application/json"}
TIMEOUT_SECONDS = 10


class Refused(Exception):
    """A button that does not fit; the message says why."""


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
        """Replay an event by the action, as `leads replay` and Settings do."""
        report = self._replay({"ids": [event_id]})
        if report["refused"]:
            raise Refused(f"event {event_id} was refused: {report['refused'][0]['reason']}")
        return f"Event {event_id} is processed again."

    def process_held(self) -> str:
        done = sum(self._replay({"filter": {"status": status}})["replayed"] for status in HELD)
        return f"{done} held {'lead is' if done == 1 else 'leads are'} processed again."

    def turn(self, kind: Switch, state: State) -> str:
        """Turn the kill switch or the pause. Raises Refused if a URL names another one."""
        if kind not in SETTINGS or state not in STATES:
            raise Refused("there is no such switch")
        title, setting = SETTINGS[kind]
        with open_session(self.database_url, "page") as db:
            switches.set_setting(db, setting, is_on=state == "on", reason=REASON)
        return f"{title} is {state}."

    def turn_source(self, source_id: str, state: str) -> str:
        """Switch a source on or off; `source_id` is the id of its row."""
        with open_session(self.database_url, "page") as db:
            found = [each for each in switches.list_switches(db) if each.row_id == source_id]
            if not found or state not in STATES:
                raise Refused("there is no such source")
            if switches.set_source(db, source_id, is_on=state == "on", reason=REASON) is None:
                raise Refused("Pancake removed it, or it has no name yet")
        return f"Source {found[0].name or found[0].pancake_source_id} is {state}."

    def run_part(self, name: str, action: str) -> str:
        """Stop a part, or start it and wait until it is ready."""
        if name not in CHAIN or action not in ("stop", "start"):
            raise Refused("there is no such part")
        part: Service | NginxEdge = getattr(self._sandbox, name)
        with self._lock:
            if (action == "stop") == (name in self._stopped):
                return f"{CHAIN[name][0]}: nothing to do."
            if action == "stop":
                part.stop()
                self._stopped.add(name)
                return f"{CHAIN[name][0]}: stopped. Send a lead, then press Start."
            try:
                part.start()
                part.wait_ready()
            except NotReady as error:
                raise Refused(f"{CHAIN[name][0]} does not start, see its log") from error
            self._stopped.discard(name)
            return f"{CHAIN[name][0]}: started again. What waited comes within a minute."

    def _replay(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the report of the action. Raises Refused."""
        self._require("hasura")
        self._require("handlers")
        try:
            with open_engine(self._sandbox.hasura_url, self._sandbox.keys.admin_secret) as engine:
                return call_action(engine, request)
        except (CommandFailed, IntegrationError) as error:
            raise Refused(str(error)) from error

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
