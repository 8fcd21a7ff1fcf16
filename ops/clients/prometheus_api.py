"""Ask Prometheus: the value of an expression, its loaded alerts, its retention (HTTP API, `/api/v1`).

Source: https://prometheus.io/docs/prometheus/latest/querying/api/
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from leads.domain.errors import IntegrationError
from ops.clients.plain_http import NoAnswer, ask

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
    """One Prometheus. Its URL may hold a user and a password. Every method raises PrometheusUnavailable."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._name = f"Prometheus at {urlsplit(url).hostname}"

    def query(self, expression: str, at: datetime) -> list[float]:
        """Return the values of the series that the expression has at that time; NaN and infinity are kept."""
        parameters = {"query": expression, "time": f"{at.timestamp():.3f}"}
        return self._ask("query", _values, parameters)

    def retention_days(self) -> float | None:
        """Return how long samples are kept (`GET /api/v1/status/flags`); None if only their size is."""
        return self._ask("status/flags", _retention_days)

    def alerts(self) -> dict[str, str]:
        """Return the loaded alerts, each with its `health`: ok, err or unknown (`GET /api/v1/rules`)."""
        return self._ask("rules", _alerts, {"type": "alert"})

    def _ask(
        self, path: str, read: Callable[[Any], Answer], parameters: Mapping[str, str] | None = None
    ) -> Answer:
        """Return what `read` finds in the data of an answer."""
        url = f"{self.url}/api/v1/{path}?{urlencode(parameters or {})}"
        try:
            document = ask(url, timeout_seconds=TIMEOUT_SECONDS).json
            if document.get("status") == "error":
                raise PrometheusRefused(f"{self._name} refused the request: {document.get('error')}")
            return read(document["data"])
        except NoAnswer as error:
            raise PrometheusUnavailable(str(error).replace(url, self._name)) from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise PrometheusUnavailable(f"{self._name} does not answer as Prometheus does") from error


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
