"""A database and a Hasura that do what a test tells them."""

from collections.abc import Sequence
from typing import Any

from leads.adapters.database import Database, Params, Row
from leads.adapters.graphql import Graphql
from leads.domain.errors import HasuraRefused, HasuraUnavailable


class FakeDatabase(Database):
    """Notes what is run on it; fails with `error` if there is one."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, dict[str, Any]]] = []
        self.rows: list[Row] = []
        self.error: Exception | None = None

    async def fetch_all(self, name: str, params: Params) -> list[Row]:
        if self.error is not None:
            raise self.error
        self.ran.append((name, dict(params)))
        return self.rows


class FakeHasura(Graphql):
    """Takes notifications, at most `taking` of a call; is away while `failing`; refuses some keys."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.failing = False
        self.refused: set[str] = set()
        self.taking: int | None = None

    async def send_notifications(self, notifications: Sequence[dict[str, Any]]) -> dict[str, int]:
        self.calls.append([n["idempotency_key"] for n in notifications])
        if self.failing:
            raise HasuraUnavailable("away")
        if self.refused & set(self.calls[-1]):
            raise HasuraRefused("one of them")
        return {"accepted": len(notifications[: self.taking]), "duplicates": 0}
