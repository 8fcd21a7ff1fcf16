"""What Alertmanager sends, received on loopback."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

FIRING, RESOLVED = "firing", "resolved"


@dataclass(frozen=True)
class Notification:
    """An alert in a message of Alertmanager."""

    receiver: str
    status: str
    labels: dict[str, str]

    @property
    def alert(self) -> str:
        return self.labels["alertname"]


def print_nothing(_: Notification) -> None:
    """Ignore a notification."""


@dataclass
class Inbox:
    """The notifications in the order of their arrival; `on_arrival` is called with each."""

    on_arrival: Callable[[Notification], None] = print_nothing
    _received: list[Notification] = field(default_factory=list)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def received(self) -> list[Notification]:
        with self._arrived:
            return list(self._received)

    def firing(self) -> set[str]:
        """Return the names of the alerts that were sent, and not resolved since."""
        last: dict[str, str] = {}
        for notification in self.received():
            last[json.dumps([notification.receiver, notification.labels], sort_keys=True)] = (
                notification.status
            )
        open_ = [json.loads(key)[1]["alertname"] for key, status in last.items() if status == FIRING]
        return set(open_)

    def sent(self) -> set[str]:
        """Return the names of all alerts that were sent."""
        return {each.alert for each in self.received() if each.status == FIRING}

    def wait(self, is_done: Callable[["Inbox"], bool], timeout_seconds: float) -> bool:
        """Wait until a condition holds; return whether it does."""
        deadline = time.monotonic() + timeout_seconds
        while not is_done(self):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            with self._arrived:
                self._arrived.wait(min(left, 1.0))
        return True

    def application(self) -> Starlette:
        """Return the application that takes `POST /{receiver}` in the form of Alertmanager's webhooks."""

        async def take(request: Request) -> Response:
            message = await request.json()
            for alert in message["alerts"]:
                self.add(Notification(request.path_params["receiver"], alert["status"], alert["labels"]))
            return JSONResponse({})

        return Starlette(routes=[Route("/{receiver}", take, methods=["POST"])])

    def add(self, notification: Notification) -> None:
        """Take a notification."""
        with self._arrived:
            self._received.append(notification)
            self._arrived.notify_all()
        self.on_arrival(notification)
