"""Ask Prometheus and Alertmanager: values, alerts, silences, what a route leads to.

Facts: https://prometheus.io/docs/prometheus/latest/querying/api/; Alertmanager's `api/v2/openapi.yaml`, and
`notify/notify.go` for its counters. With the feature `receiver-name-in-metrics` they have the label
`receiver_name`.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from leads.domain.errors import IntegrationError
from ops.clients.plain_http import HttpAnswer, NoAnswer, ask

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


REQUEST_SECONDS = 5.0
REQUESTS = "alertmanager_notification_requests_total"
FAILED = "alertmanager_notification_requests_failed_total"
AUTHOR = "leads"
"""Of the silences that the operators' command makes."""
Channel = tuple[str, str]
"""The kind of an integration, for example `slack`, and its receiver; that is empty without the feature."""
Requests = Counter[tuple[str, Channel]]
"""How often REQUESTS and FAILED were counted for each channel, since Alertmanager started."""


class AlertmanagerUnavailable(NoAnswer):
    """Alertmanager did not answer as its API does; the message names the URL and why."""

    code = "alertmanager_unavailable"


class Alertmanager:
    """The API at a base URL. Every method raises AlertmanagerUnavailable."""

    def __init__(self, url: str) -> None:
        self._url = url

    def post(self, labels: Mapping[str, str], annotations: Mapping[str, str], ends_at: datetime) -> None:
        """Post an alert that fires until `ends_at`; a time that has passed resolves it."""
        alert = {"labels": labels, "annotations": annotations, "endsAt": ends_at.isoformat()}
        self._ask("/api/v2/alerts", [alert])

    def silence(self, labels: Mapping[str, str], starts_at: datetime, ends_at: datetime, reason: str) -> None:
        """Keep alerts with these labels from their receivers until a time."""
        times = {"startsAt": starts_at.isoformat(), "endsAt": ends_at.isoformat()}
        matchers = [
            {"name": name, "value": value, "isRegex": False, "isEqual": True}
            for name, value in labels.items()
        ]
        silence = {"matchers": matchers, **times, "createdBy": AUTHOR, "comment": reason}
        self._ask("/api/v2/silences", silence)

    def end_silences(self, labels: Mapping[str, str]) -> None:
        """End each silence that `silence` made with exactly these labels and that has not ended."""
        for each in self._ask("/api/v2/silences").json:
            is_such = {matcher["name"]: matcher["value"] for matcher in each["matchers"]} == labels
            if is_such and each["createdBy"] == AUTHOR and each["status"]["state"] != "expired":
                self._ask(f"/api/v2/silence/{each['id']}", method="DELETE")

    def find(self, labels: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the firing alert with exactly these labels, with its `receivers` and `status`."""
        alerts = self._ask("/api/v2/alerts").json
        return next((alert for alert in alerts if alert["labels"] == labels), None)

    def configuration(self) -> str:
        """Return the configuration as YAML, without secrets."""
        return str(self._ask("/api/v2/status").json["config"]["original"])

    def requests(self) -> Requests:
        """Return how many requests were sent to the services behind the channels, and how many failed."""
        # Only now: few verbs need the library.
        from prometheus_client.parser import text_string_to_metric_families

        counts = Requests()
        for family in text_string_to_metric_families(self._ask("/metrics").text):
            for sample in family.samples:
                if sample.name in (REQUESTS, FAILED):
                    channel = sample.labels["integration"], sample.labels.get("receiver_name", "")
                    counts[sample.name, channel] += int(sample.value)
        return counts

    def _ask(
        self,
        path: str,
        body: Mapping[str, object] | Sequence[object] | None = None,
        *,
        method: str | None = None,
    ) -> HttpAnswer:
        url = self._url + path
        try:
            answer = ask(url, method=method, body=body, timeout_seconds=REQUEST_SECONDS)
        except NoAnswer as error:
            raise AlertmanagerUnavailable(str(error)) from error
        if answer.status != 200:
            raise AlertmanagerUnavailable(f"{url} answers {answer.status}")
        if path.startswith("/api/") and body is None and method is None and answer.json is None:
            raise AlertmanagerUnavailable(f"{url} does not answer JSON: it is not Alertmanager")
        return answer
