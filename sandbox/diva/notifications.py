"""Diva's notification service, as a stand-in that remembers what it was sent.

Called by: Hasura's action `sendNotifications`.
GET /sent lists what was accepted; POST /control changes its temper (see Temper); it keeps no state on disk.
"""

import asyncio
from dataclasses import dataclass, field, fields, replace
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sandbox.serving import read_address, serve

KEYS = {"template_code", "recipient_ids", "data", "idempotency_key"}


@dataclass(frozen=True)
class Temper:
    """How the service behaves.

    `ignore_keys`: accept a repeated idempotency key again. `fail`: answer 500 to that many requests without
    accepting anything (-1: to all). `fail_after_accepting`: accept, then answer 500, that many times.
    `delay_ms`: wait before every answer.
    """

    ignore_keys: bool = False
    fail: int = 0
    fail_after_accepting: int = 0
    delay_ms: int = 0


@dataclass
class Service:
    """What was accepted, in order of arrival, and what was recognised as a repeat."""

    temper: Temper = Temper()
    sent: list[dict[str, Any]] = field(default_factory=list)
    duplicates: int = 0
    _seen: set[str] = field(default_factory=set)

    def accept(self, notifications: list[dict[str, Any]]) -> dict[str, int]:
        """Take a batch and count, as `SendNotificationsOutput` does."""
        accepted = 0
        for notification in notifications:
            key = notification["idempotency_key"]
            if key in self._seen and not self.temper.ignore_keys:
                self.duplicates += 1
                continue
            self._seen.add(key)
            self.sent.append(notification)
            accepted += 1
        return {"accepted": accepted, "duplicates": len(notifications) - accepted}

    def forget(self) -> None:
        """Start over, in a good temper."""
        self.temper, self.duplicates = Temper(), 0
        self.sent.clear()
        self._seen.clear()

    def spend(self, name: str) -> bool:
        """Whether a fault that is counted down is due, counting it down."""
        left = getattr(self.temper, name)
        if left > 0:
            self.temper = replace(self.temper, **{name: left - 1})
        return bool(left)


def create_app(service: Service | None = None) -> Starlette:
    """The service as an ASGI application; `service` may be given to look inside."""
    state = service or Service()

    async def send(request: Request) -> Response:
        await asyncio.sleep(state.temper.delay_ms / 1000)
        if state.spend("fail"):
            return JSONResponse({"message": "out of order, on demand"}, status_code=500)
        try:
            notifications = _checked(await request.json())
        except (ValueError, KeyError, TypeError) as error:
            return JSONResponse({"message": f"not a call of sendNotifications: {error}"}, status_code=400)
        answer = state.accept(notifications)
        if state.spend("fail_after_accepting"):
            return JSONResponse({"message": "lost its answer, on demand"}, status_code=500)
        return JSONResponse(answer)

    async def sent(request: Request) -> Response:
        if request.method == "DELETE":
            state.forget()
        return JSONResponse({"sent": state.sent, "duplicates": state.duplicates})

    async def control(request: Request) -> Response:
        asked = await request.json()
        unknown = set(asked) - {known.name for known in fields(Temper)}
        if unknown:
            return JSONResponse({"message": f"unknown: {sorted(unknown)}"}, status_code=400)
        state.temper = replace(state.temper, **asked)
        return JSONResponse({known.name: getattr(state.temper, known.name) for known in fields(Temper)})

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
    """The notifications of Hasura's action envelope; ValueError, KeyError or TypeError if it is another."""
    if envelope["action"]["name"] != "sendNotifications":
        raise ValueError(f"action {envelope['action']['name']!r}")
    notifications = envelope["input"]["notifications"]
    for notification in notifications:
        if set(notification) != KEYS:
            raise ValueError(f"keys {sorted(notification)}")
        if not notification["recipient_ids"] or not notification["idempotency_key"]:
            raise ValueError("no recipient or no idempotency key")
    return list(notifications)


def main() -> None:
    """Serve until stopped."""
    serve(create_app(), *read_address("sandbox.diva.notifications", __doc__))


if __name__ == "__main__":
    main()
