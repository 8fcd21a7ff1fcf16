"""Control routes below /sandbox, for admins only. Hasura has none of them."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from graphql_engine.cron.schedule import parse_time, shown_time
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.http.answers import answer, authenticate, parse_body


async def chaos(request: Request, engine: Engine) -> Response:
    """Show or replace the plan of faults (/proofs/chaos)."""
    await _admin(request, engine)
    if request.method == "POST":
        engine.chaos.load(_object(parse_body(await request.body())))
    return answer(engine.chaos.shown())


async def clock(request: Request, engine: Engine) -> Response:
    """Show or move the clock of cron triggers and one-off events (/sandbox/clock).

    Body: `{"advance": seconds}`, `{"set": "2026-01-01T00:00:00Z"}` or `{"reset": true}`.
    """
    await _admin(request, engine)
    if request.method == "POST":
        order = _object(parse_body(await request.body()))
        if "advance" in order:
            engine.clock.advance(float(order["advance"]))
        elif "set" in order:
            engine.clock.set(parse_time(order["set"]))
        elif order.get("reset"):
            engine.clock.reset()
        else:
            raise QErr("parse-failed", "clock: expecting one of advance, set, reset")
    return answer({"now": shown_time(engine.clock.now())})


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise QErr("parse-failed", "expecting a JSON object")
    return value


async def _admin(request: Request, engine: Engine) -> None:
    session = await authenticate(request, engine)
    if not session.is_admin:
        raise QErr("access-denied", "restricted access : admin only")
