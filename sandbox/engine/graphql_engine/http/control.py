"""The control route below /sandbox, for admins only. Hasura has none."""

from starlette.requests import Request
from starlette.responses import Response

from graphql_engine.cron.schedule import parse_time, shown_time
from graphql_engine.engine import Engine
from graphql_engine.errors import QErr
from graphql_engine.http.answers import answer, authenticate, parse_body
from graphql_engine.metadata.access import dict_of


async def clock(request: Request, engine: Engine) -> Response:
    """Show or move the clock of cron triggers (/sandbox/clock).

    Body: `{"advance": seconds}`, `{"set": "2026-01-01T00:00:00Z"}` or `{"reset": true}`.
    """
    if not (await authenticate(request, engine)).is_admin:
        raise QErr("access-denied", "restricted access : admin only")
    if request.method == "POST":
        order = dict_of(parse_body(await request.body()))
        if "advance" in order:
            engine.clock.advance(float(order["advance"]))
        elif "set" in order:
            engine.clock.set(parse_time(order["set"]))
        elif order.get("reset"):
            engine.clock.reset()
        else:
            raise QErr("parse-failed", "clock: expecting one of advance, set, reset")
    return answer({"now": shown_time(engine.clock.now())})
