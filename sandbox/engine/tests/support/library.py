"""A small library (authors, articles …) tracked in the stand-in engine, and a client for its GraphQL."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import yaml

from graphql_engine.auth import Session
from graphql_engine.catalog import load_catalog
from graphql_engine.engine import Engine
from graphql_engine.graphql.run import execute
from graphql_engine.rawjson import dumps, loads
from graphql_engine.settings import Settings
from graphql_engine.webhooks import Client, Headers, Response

Json = dict[str, Any]
SCHEMA = Path(__file__).with_name("library.sql").read_text("utf-8")
METADATA: Json = yaml.safe_load(Path(__file__).with_name("library.yaml").read_text("utf-8"))


class Handler(Client):
    """A handler in the test's process: the answer to the bytes of each request."""

    def __init__(self, answer: Callable[[bytes], Response]) -> None:
        super().__init__()
        self._handle = answer

    async def post(self, url: str, headers: Headers, content: bytes) -> Response:
        return self._handle(content)


class Library:
    """An engine over a database with SCHEMA; `calls` holds what the handler of the action `greet` got."""

    def __init__(self, database_url: str) -> None:
        self.calls: list[tuple[str, Json, str]] = []
        self.engine = Engine(Settings(), database_url, METADATA)
        self.engine.http = Handler(self._greet)

    async def __aenter__(self) -> Self:
        await self.engine.pool.open()
        await self.read_catalog()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.engine.pool.close()

    async def read_catalog(self) -> None:
        async with self.engine.pool.connection() as connection:
            self.engine.catalog = await load_catalog(connection)

    def set(self, **settings: Any) -> None:
        self.engine.settings = replace(self.engine.settings, **settings)

    def _greet(self, content: bytes) -> Response:
        body = loads(content)
        self.calls.append((body["action"]["name"], body["input"], body["request_query"]))
        greetings = [
            {"text": "hello", "author_id": body["input"]["who"]["id"], "secret": 1},
            {"text": "bye", "author_id": None},
        ]
        return Response(200, [], json.dumps(greetings).encode())

    async def raw(self, request: Any, role: str = "admin", **variables: str) -> Any:
        """Return the whole answer to a request body."""
        backend = variables.pop("backend_only", "") == "true"
        named = {f"x-hasura-{key.replace('_', '-')}": value for key, value in variables.items()}
        session = Session(role, {"x-hasura-role": role, **named}, backend)
        return loads(dumps(await execute(self.engine, session, request)))

    async def ask(self, query: str, role: str = "admin", given: Json | None = None, **variables: str) -> Any:
        """Return the data of a query that must succeed."""
        answer = await self.raw({"query": query, "variables": given}, role, **variables)
        assert "errors" not in answer, answer
        return answer["data"]

    async def fail(
        self, query: str, role: str = "admin", given: Json | None = None, **variables: str
    ) -> tuple[str, str, str]:
        """Return (path, code, message) of a query that must fail."""
        answer = await self.raw({"query": query, "variables": given}, role, **variables)
        assert "data" not in answer, answer
        (error,) = answer["errors"]
        return error["extensions"]["path"], error["extensions"]["code"], error["message"]
