"""The application of the page, and its server on loopback, in a thread of the process that runs the sandbox.

Other pages that a browser has open must not press its buttons: a POST needs the token of the page, and the
server refuses another Origin and a foreign Host, as the control ports do (sandbox/serving.py).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs

import httpx
import psycopg
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from leads.domain.errors import IntegrationError
from ops.failures import connection_reason
from sandbox.page.buttons import Buttons, Refused
from sandbox.page.render import live_part, page
from sandbox.payloads import load_samples
from sandbox.serving import LoopbackServer

HERE = Path(__file__).parent


class Page:
    """The page of one sandbox. `url` is its address once it was started."""

    def __init__(self, buttons: Buttons) -> None:
        self.buttons = buttons
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self._server = LoopbackServer(self.application())

    def __enter__(self) -> Self:
        """Serve on a free port of loopback."""
        self.url = self._server.__enter__().url
        return self

    def __exit__(self, *error: object) -> None:
        self._server.__exit__()

    def application(self) -> Starlette:
        buttons = self.buttons
        presses: dict[str, Callable[..., str]] = {
            "/leads": partial(buttons.send_leads, 1),
            "/leads/burst": partial(buttons.send_leads, 10),
            "/leads/again": buttons.send_last_again,
            "/leads/held": buttons.process_held,
            "/leads/{event_id:int}/again": buttons.process_again,
            "/samples/{name}": buttons.send_sample,
            "/switches/{kind}/{state}": buttons.turn,
            "/sources/{source_id}/{state}": buttons.turn_source,
            "/parts/{name}/{action}": buttons.run_part,
        }
        return Starlette(
            routes=[
                Route("/", self._show),
                Route("/live", self._show_live),
                Route("/page.css", partial(_file, "page.css")),
                Route("/page.js", partial(_file, "page.js")),
                *(Route(path, self._on(press), methods=["POST"]) for path, press in presses.items()),
            ]
        )

    async def _show(self, request: Request) -> Response:
        nonce = secrets.token_urlsafe(12)
        live = await asyncio.to_thread(self._live)
        answer = HTMLResponse(page(live, load_samples(), self.token, nonce))
        answer.headers["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'self'; script-src 'nonce-{nonce}'; connect-src 'self';"
            " img-src data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        answer.headers["Cache-Control"] = "no-store"
        return answer

    async def _show_live(self, request: Request) -> Response:
        return HTMLResponse(await asyncio.to_thread(self._live))

    def _on(self, press: Callable[..., str]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            if not await self._knows_token(request):
                return PlainTextResponse("Press the button on the page itself.", 403)
            try:
                note = await asyncio.to_thread(partial(press, **request.path_params))
            except (Refused, IntegrationError) as error:
                note = f"That did not work: {error}."
            except (httpx.HTTPError, psycopg.Error) as error:
                note = f"That did not work: {connection_reason(error)}."
            if "x-live" in request.headers:
                return HTMLResponse(await asyncio.to_thread(self._live, note))
            return RedirectResponse("/", status_code=303)

        return answer

    def _live(self, note: str = "") -> str:
        buttons = self.buttons
        return live_part(buttons.database_url, buttons.running(), self.token, note)

    async def _knows_token(self, request: Request) -> bool:
        given = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0]
        return secrets.compare_digest(given.encode(), self.token.encode())


async def _file(name: str, request: Request) -> Response:
    return FileResponse(HERE / name)
