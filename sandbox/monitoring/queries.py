"""Ask a Prometheus for series, with their labels, at a moment or over a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx

TIMEOUT_SECONDS = 30.0


class QueryFailed(Exception):
    """Prometheus refused a query; the message has the query and its reason."""


@dataclass(frozen=True, slots=True)
class Series:
    """One series of an answer; a value that is NaN stays NaN."""

    labels: Mapping[str, str]
    points: Sequence[tuple[datetime, float]]


class Queries:
    """Context manager around the connection to one Prometheus."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout_seconds, trust_env=False)

    def at(self, expression: str, moment: datetime) -> list[Series]:
        """Return the answer of an instant query. Raises QueryFailed."""
        result = self._ask("query", {"query": expression, "time": moment.timestamp()})
        return [_series(found["metric"], [found["value"]]) for found in result]

    def between(self, expression: str, since: datetime, until: datetime, step_seconds: float) -> list[Series]:
        """Return the answer of a range query. Raises QueryFailed."""
        window = {"start": since.timestamp(), "end": until.timestamp(), "step": step_seconds}
        result = self._ask("query_range", {"query": expression, **window})
        return [_series(found["metric"], found["values"]) for found in result]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def _ask(self, path: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        answer = self._http.get(f"/api/v1/{path}", params=dict(parameters)).json()
        if answer["status"] != "success":
            raise QueryFailed(f"{parameters['query']}: {answer['error']}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result


def _series(labels: dict[str, str], values: list[tuple[float, str]]) -> Series:
    return Series(labels, [(datetime.fromtimestamp(at, UTC), float(value)) for at, value in values])
