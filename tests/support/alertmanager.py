"""A real Alertmanager with the routes of deploy/, made fast, whose receivers are an inbox on loopback."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from sandbox.incidents.compression import compress_alertmanager
from sandbox.incidents.live.receiver import Inbox
from sandbox.incidents.prometheus import alertmanager
from sandbox.processes import Processes
from sandbox.serving import LoopbackServer

FACTOR = 60.0


@dataclass(frozen=True)
class RunningAlertmanager:
    """Its base URL, and what its receivers got."""

    url: str
    inbox: Inbox

    def call(self, path: str, body: object) -> Any:
        """POST to the API."""
        answer = httpx.post(f"{self.url}/api/v2/{path}", json=body, timeout=10)
        return answer.raise_for_status().json() if answer.content else None

    def fire(self, labels: Mapping[str, str]) -> None:
        """Post an alert that fires for a minute."""
        ends_at = datetime.now(UTC) + timedelta(minutes=1)
        self.call("alerts", [{"labels": dict(labels), "endsAt": ends_at.isoformat()}])

    def silence(self, alert: str) -> None:
        now = datetime.now(UTC)
        matcher = {"name": "alertname", "value": alert, "isRegex": False, "isEqual": True}
        self.call(
            "silences",
            {
                "matchers": [matcher],
                "startsAt": now.isoformat(),
                "endsAt": (now + timedelta(minutes=1)).isoformat(),
                "createdBy": "test",
                "comment": "test",
            },
        )


@contextmanager
def running_alertmanager(
    *, refuses: str = "", changes: Mapping[str, Any] | None = None
) -> Iterator[RunningAlertmanager]:
    """Run it. The service behind the receiver `refuses` answers 403; `changes` go into its configuration."""
    inbox = Inbox()
    with Processes() as processes, LoopbackServer(_service(inbox, refuses)) as receivers:
        folder = processes.directory("alertmanager-")
        config = folder / "alertmanager.yml"
        config.write_text(yaml.safe_dump(compress_alertmanager(FACTOR, receivers.url) | dict(changes or {})))
        server = alertmanager(processes, config, folder / "data")
        server.start()
        server.wait_ready()
        yield RunningAlertmanager(server.url, inbox)


def _service(inbox: Inbox, refuses: str) -> Starlette:
    async def refuse(request: Request) -> PlainTextResponse:
        return PlainTextResponse("no such key", 403)

    application = inbox.application()
    if refuses:
        application.router.routes.insert(0, Route(f"/{refuses}", refuse, methods=["POST"]))
    return application
