"""A stand-in for Diva's notification service that keeps what it accepted in memory.

Called by: Hasura's action `sendNotifications`.
GET /sent lists the accepted notifications; POST /control changes the faults (see Faults).
"""

import asyncio
from dataclasses import dataclass, field, fields, replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.serving import read_address, serve

NOTIFICATION_KEYS = {"template_code", "recipient_ids", "data", "idempotency_key"}


@dataclass(frozen=True)
class Faults:
    """Faults of the service.

    `ignore_keys`: accept a repeated idempotency key again. `fail`: answer 500 to that many requests without
    accepting anything (-1: to all). `fail_after_accepting`: accept, then answer 500, to that many requests.
    `delay_ms`: wait before every answer.
    """

    ignore_keys: bool = False
    fail: int = 0
    fail_after_accepting: int = 0
    delay_ms: int = 0


@dataclass
class Service:
    """The accepted notifications in order of arrival, and the number of duplicates."""

    faults: Faults = Faults()
    sent: list[dict[str, Any]] = field(default_factory=list)
    duplicates: int = 0
    _seen: set[str] = field(default_factory=set)

    def accept(self, notifications: list[dict[str, Any]]) -> dict[str, int]:
        """Accept a batch and return the counts of `SendNotificationsOutput`."""
        accepted = 0
        for notification in notifications:
            key = notification["idempotency_key"]
            if key in self._seen and not self.faults.ignore_keys:
                self.duplicates += 1
                continue
            self._seen.add(key)
            self.sent.append(notification)
            accepted += 1
        return {"accepted": accepted, "duplicates": len(notifications) - accepted}

    def reset(self) -> None:
        """Forget all notifications and switch the faults off."""
        self.faults, self.duplicates = Faults(), 0
        self.sent.clear()
        self._seen.clear()

    def is_fault_due(self, name: str) -> bool:
        """Return whether a counted fault is due, and count it down."""
        left = getattr(self.faults, name)
        if left > 0:
            self.faults = replace(self.faults, **{name: left - 1})
        return bool(left)


def create_app(service: Service | None = None) -> Starlette:
    """Create the service as an ASGI application. Tests pass `service` to read its state."""
    state = service or Service()

    async def send(request: Request) -> Response:
        await asyncio.sleep(state.faults.delay_ms / 1000)
        if state.is_fault_due("fail"):
            return JSONResponse({"message": "failure requested by POST /control"}, status_code=500)
        try:
            notifications = _checked(await request.json())
        except (ValueError, KeyError, TypeError) as error:
            return JSONResponse({"message": f"not a call of sendNotifications: {error}"}, status_code=400)
        answer = state.accept(notifications)
        if state.is_fault_due("fail_after_accepting"):
            return JSONResponse(
                {"message": "failure after accepting, requested by POST /control"}, status_code=500
            )
        return JSONResponse(answer)

    async def sent(request: Request) -> Response:
        if request.method == "DELETE":
            state.reset()
        return JSONResponse({"sent": state.sent, "duplicates": state.duplicates})

    async def control(request: Request) -> Response:
        changes = await request.json()
        unknown = set(changes) - {known.name for known in fields(Faults)}
        if unknown:
            return JSONResponse({"message": f"unknown: {sorted(unknown)}"}, status_code=400)
        state.faults = replace(state.faults, **changes)
        return JSONResponse({known.name: getattr(state.faults, known.name) for known in fields(Faults)})

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("OK")

    return Starlette(
        routes=[
            Route("/actions/sendNotifications", send, methods=["POST"]),
            Route("/sent", sent, methods=["GET", "DELETE"]),
            Route("/control", control, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ]
    )


def _checked(envelope: Any) -> list[dict[str, Any]]:
    """Return the notifications of an action call. Raises ValueError, KeyError or TypeError."""
    if envelope["action"]["name"] != "sendNotifications":
        raise ValueError(f"unexpected action {envelope['action']['name']!r}")
    notifications = envelope["input"]["notifications"]
    for notification in notifications:
        if set(notification) != NOTIFICATION_KEYS:
            raise ValueError(f"unexpected keys {sorted(notification)}")
        if not notification["recipient_ids"] or not notification["idempotency_key"]:
            raise ValueError("no recipient or no idempotency key")
    return list(notifications)


def main() -> None:
    serve(create_app(), *read_address("sandbox.diva.notifications", __doc__))


if __name__ == "__main__":
    main()
