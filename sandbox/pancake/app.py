"""The simulator as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from sandbox.pancake import api, control
from sandbox.pancake.workspace import Workspace


def create_app(workspace: Workspace) -> Starlette:
    """Serve both APIs of one workspace, which is closed with the application."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await workspace.aclose()

    app = Starlette(routes=[*api.routes(), *control.routes()], lifespan=lifespan)
    app.state.workspace = workspace
    return app
