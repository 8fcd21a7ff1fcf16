"""The engine under test, as its clients see it."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx

from tests.support.receiver import Receiver

Json = Any
_numbers = count(1)


@dataclass
class Hasura:
    """An engine by URL and secret. stand_in: it is the stand-in, which has control routes.

    jwt_key, contract_secret: the key of its tokens and its variable CONTRACT_SECRET; None if not known.
    """

    url: str
    secret: str
    receiver: Receiver
    client: httpx.Client
    stand_in: bool
    jwt_key: str | None = None
    contract_secret: str | None = None
    schema: str = ""
    crons: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.schema = unique("contract")
        self.before = self.do("export_metadata", {})
        self.sql(f'CREATE SCHEMA "{self.schema}"')

    def close(self) -> None:
        """Remove everything that the test created. Private cron triggers survive a replace."""
        for name in self.crons:
            self.call("delete_cron_trigger", {"name": name})
        args = {"metadata": self.before, "allow_inconsistent_metadata": True}
        self.do("replace_metadata", args, version=2)
        self.query("run_sql", {"sql": f'DROP SCHEMA "{self.schema}" CASCADE', "cascade": True})

    @property
    def admin(self) -> dict[str, str]:
        return {"x-hasura-admin-secret": self.secret}

    def role(self, role: str, **variables: str) -> dict[str, str]:
        """Return headers that impersonate a role; `user_id` becomes `x-hasura-user-id`."""
        named = {f"x-hasura-{key.replace('_', '-')}": value for key, value in variables.items()}
        return self.admin | {"x-hasura-role": role} | named

    def post(self, path: str, body: Json, headers: dict[str, str] | None = None) -> tuple[int, Json]:
        """POST JSON; return status and parsed answer."""
        answer = self.client.post(
            self.url + path, json=body, headers=self.admin if headers is None else headers
        )
        return answer.status_code, answer.json()

    def call(self, kind: str, args: Json, **more: Json) -> tuple[int, Json]:
        return self.post("/v1/metadata", {"type": kind, "args": args, **more})

    def do(self, kind: str, args: Json, **more: Json) -> Json:
        """Send one request to /v1/metadata that must succeed."""
        status, body = self.call(kind, args, **more)
        assert status == 200, body
        return body

    def query(self, kind: str, args: Json) -> tuple[int, Json]:
        return self.post("/v2/query", {"type": kind, "args": args})

    def sql(self, text: str) -> list[list[str]]:
        """Run SQL that must succeed; return the rows below the header, as texts."""
        status, body = self.query("run_sql", {"sql": text})
        assert status == 200, body
        return [] if body["result"] is None else list(body["result"][1:])

    def graphql(self, query: str, headers: dict[str, str] | None = None, **variables: Json) -> Json:
        """Return the body of an answer on /v1/graphql, whose status must be 200."""
        status, body = self.post("/v1/graphql", {"query": query, "variables": variables}, headers)
        assert status == 200, body
        return body

    def table(self, name: str, columns: str, *, tracked: bool = True) -> Json:
        """Create a table in the test's schema and track it; return its name in the metadata."""
        self.sql(f'CREATE TABLE "{self.schema}"."{name}" ({columns})')
        named = {"schema": self.schema, "name": name}
        if tracked:
            self.do("pg_track_table", {"table": named})
        return named

    def change(self, edit: Callable[[Json], None]) -> tuple[int, Json]:
        """Let `edit` change the exported metadata, and send them back."""
        metadata = self.do("export_metadata", {})
        edit(metadata)
        return self.call("replace_metadata", {"metadata": metadata}, version=2)

    def extend(self, table: Json, key: str, value: Json) -> tuple[int, Json]:
        """Add an item to a list of a tracked table, or set another key of it."""

        def edit(metadata: Json) -> None:
            entry = next(t for t in metadata["sources"][0]["tables"] if t["table"] == table)
            entry[key] = [*entry.get(key, []), value] if key.endswith("s") else value

        return self.change(edit)

    def relate(self, table: Json, kind: str, name: str, **using: Json) -> tuple[int, Json]:
        """Add a relationship: `kind` is object or array."""
        return self.extend(table, f"{kind}_relationships", {"name": name, "using": using})

    def events(self, trigger: str) -> list[dict[str, Json]]:
        """Return the rows of the event log of one trigger."""
        rows = self.sql(
            "SELECT coalesce(json_agg(to_jsonb(l) ORDER BY created_at), '[]') FROM hdb_catalog.event_log AS l"
            f" WHERE trigger_name = '{trigger}'"
        )
        return list(json.loads(rows[0][0]))


def unique(purpose: str) -> str:
    return f"{purpose}_{int(time.time() * 1000) % 10_000_000}_{next(_numbers)}"


def eventually(question: Callable[[], Json], seconds: float = 15.0) -> Json:
    """Ask until the answer is truthy and return it; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
