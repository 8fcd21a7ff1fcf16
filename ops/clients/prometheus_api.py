"""Ask Prometheus: the value of an expression, its loaded alerts, its retention (HTTP API, `/api/v1`).

Source: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx

from leads.domain.errors import IntegrationError
from ops.clients.plain_http import tls_context
from ops.failures import connection_reason

TIMEOUT_SECONDS = 10.0
DAYS_OF_UNIT = {
    "y": 365.0, "w": 7.0, "d": 1.0, "h": 1 / 24, "m": 1 / 1440, "s": 1 / 86_400, "ms": 1 / 86_400_000,
}  # fmt: skip
"""The units of a duration in Prometheus, for example 15d or 1d12h."""

Answer = TypeVar("Answer")


class PrometheusUnavailable(IntegrationError):
    """Prometheus does not answer, or refuses the expression."""

    code = "prometheus_unavailable"


class PrometheusRefused(PrometheusUnavailable):
    """Prometheus answers that it cannot evaluate this expression."""


class PrometheusApi:
    """Context manager around the connection to one Prometheus. Its URL may hold a user and a password."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._name = f"Prometheus at {urlsplit(url).hostname}"
        self._http = httpx.Client(timeout=TIMEOUT_SECONDS, verify=tls_context(), trust_env=False)

    def query(self, expression: str, at: datetime) -> list[float]:
        """Return the values of the series that the expression has at that time; NaN and infinity are kept.

        Raises PrometheusUnavailable.
        """
        parameters = {"query": expression, "time": f"{at.timestamp():.3f}"}
        return self._ask("query", _values, parameters)

    def retention_days(self) -> float | None:
        """Return how long samples are kept (`GET /api/v1/status/flags`); None if only their size is limited.

        Raises PrometheusUnavailable.
        """
        return self._ask("status/flags", _retention_days)

    def alerts(self) -> dict[str, str]:
        """Return the loaded alerts, each with its `health`: ok, err or unknown (`GET /api/v1/rules`).

        Raises PrometheusUnavailable.
        """
        return self._ask("rules", _alerts, {"type": "alert"})

    def _ask(
        self, path: str, read: Callable[[Any], Answer], parameters: Mapping[str, str] | None = None
    ) -> Answer:
        """Return what `read` finds in the data of an answer. Raises PrometheusUnavailable."""
        try:
            answer = self._http.get(f"{self.url}/api/v1/{path}", params=parameters)
            document: dict[str, Any] = answer.json()
            if document.get("status") == "error":
                raise PrometheusRefused(f"{self._name} refused the request: {document.get('error')}")
            return read(document["data"])
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PrometheusUnavailable(
                f"{self._name} does not answer: {connection_reason(error)}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise PrometheusUnavailable(f"{self._name} does not answer as Prometheus does") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


def _values(data: dict[str, Any]) -> list[float]:
    if data["resultType"] == "scalar":
        return [float(data["result"][1])]
    if data["resultType"] != "vector":
        raise ValueError(data["resultType"])
    return [float(series["value"][1]) for series in data["result"]]


def _retention_days(flags: dict[str, str]) -> float | None:
    text = flags.get("storage.tsdb.retention.time") or flags.get("storage.tsdb.retention") or ""
    parts = re.findall(r"(\d+)(ms|[ywdhms])", text)
    return sum(int(number) * DAYS_OF_UNIT[unit] for number, unit in parts) or None


def _alerts(data: dict[str, Any]) -> dict[str, str]:
    """Read the name and health of each alert; of two with the same name the one that is not ok counts."""
    found: dict[str, str] = {}
    for group in data["groups"]:
        for rule in group["rules"]:
            if found.get(rule["name"], "ok") == "ok":
                found[rule["name"]] = str(rule["health"])
    return found
