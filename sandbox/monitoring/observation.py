"""A sandbox with a real Prometheus and Alertmanager, whose rules and routes are faster by a factor.

An alert of ten minutes fires within seconds. Divided are `for`, `keep_firing_for`, ranges, offsets, limits
of the form `time() - … > N`, the intervals of Prometheus, and the waits of Alertmanager. Not divided is what
does not get faster: a rule that reads an hour of the database keeps its ranges, the periods of crons stay as
they are, and so do the rules on what the edge and a cron of each minute empty: the spool, and notifications
that were not sent.
"""

import re
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

from leads.services.metrics import SERIES
from sandbox.edge import NginxEdge
from sandbox.monitoring.handlers import FACTOR
from sandbox.monitoring.rules import ALERTMANAGER, PROMETHEUS, load, rule_files, seconds
from sandbox.monitoring.servers import Inbox, alertmanager, prometheus
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import Processes
from sandbox.serving import LoopbackServer
from sandbox.stack.stack import Sandbox

MIN_SECONDS = 1.0
"""Between two scrapes or evaluations."""
_RANGE = re.compile(r"\[(\w+)\]")
_OFFSET = re.compile(r"(?<=offset )(\w+)")
_LIMIT = re.compile(r"> (\d+)\b(?! \*)")
_WINDOWS = tuple(series.name for series in SERIES if series.name.startswith("pancake_recent_"))
_OF_AN_HOUR = ("pancake:counted:increase1h", "pancake_counted_rows")
"""The events that were counted in an hour, and their rows in the database: they are compared."""
_EMPTIED = ("pancake_edge_spool_files", "pancake_unsent_notification_oldest_timestamp_seconds")
_WAITS = ("group_wait", "group_interval", "repeat_interval")


def compress_rules(factor: float) -> dict[str, dict[str, Any]]:
    files = {path.name: load(path) for path in rule_files()}
    for document in files.values():
        for group in document["groups"]:
            for rule in group["rules"]:
                if any(name in rule["expr"] for name in _EMPTIED):
                    continue
                rule.update(
                    {name: faster(rule[name], factor) for name in ("for", "keep_firing_for") if name in rule}
                )
                text = f"{rule.get('record')} {rule['expr']}"
                if not any(name in text for name in _OF_AN_HOUR):
                    rule["expr"] = compress_expression(rule["expr"], factor)
    return files


def compress_expression(expression: str, factor: float) -> str:
    expression = _OFFSET.sub(lambda match: faster(match[1], factor), expression)
    if any(name in expression for name in _WINDOWS):
        return expression
    shorter = _RANGE.sub(lambda match: f"[{faster(match[1], factor)}]", expression)
    if "time() -" not in shorter:
        return shorter
    return _LIMIT.sub(lambda match: f"> {int(match[1]) / factor:g}", shorter)


def compress_prometheus(factor: float, targets: Mapping[str, str], alertmanager: str) -> dict[str, Any]:
    """Return prometheus.yml with other targets, `host:port` by job."""
    document = load(PROMETHEUS / "prometheus.yml")
    document["global"] = {
        name: _duration(max(MIN_SECONDS, seconds(value) / factor))
        for name, value in document["global"].items()
    }
    document["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
    for job in document["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    return document


def compress_alertmanager(factor: float, receivers_url: str) -> dict[str, Any]:
    """Return alertmanager.yml with shorter waits, whose receivers post to `receivers_url` + their name."""
    document = load(ALERTMANAGER)
    timeout = document["global"]["resolve_timeout"]
    document["global"]["resolve_timeout"] = faster(timeout, factor)
    for route in (document["route"], *document["route"]["routes"]):
        route.update(
            {name: faster(route[name], factor) for name in _WAITS if name in route and route[name] != "0s"}
        )
    document["receivers"] = [
        {"name": receiver["name"], "webhook_configs": [{"url": f"{receivers_url}/{receiver['name']}"}]}
        for receiver in document["receivers"]
    ]
    return document


def faster(duration: str, factor: float) -> str:
    return _duration(seconds(duration) / factor)


def _duration(length_seconds: float) -> str:
    return f"{round(length_seconds * 1000)}ms"


DEFAULT_FACTOR = 30.0
"""Ten minutes are 20 s; a range of five minutes still has ten scrapes."""


class ObservedSandbox(Sandbox):
    """A sandbox whose handlers show figures of the database that are as new as the factor needs."""

    application = "sandbox.monitoring.handlers:create_app"

    def __init__(
        self,
        cluster: Cluster | None = None,
        server_url: str | None = None,
        factor: float = DEFAULT_FACTOR,
        accounts: int = 0,
    ) -> None:
        super().__init__(cluster, server_url, accounts=accounts)
        self.factor = factor

    def _service_environment(self) -> Mapping[str, str]:
        return {**super()._service_environment(), FACTOR: str(self.factor)}


class Observation:
    """Prometheus, Alertmanager and the inbox of its receivers, as long as the block lasts.

    The sandbox has started, with the edge of nginx: the stand-in has no metrics.
    """

    def __init__(self, sandbox: ObservedSandbox, inbox: Inbox) -> None:
        self._sandbox = sandbox
        self._inbox = inbox
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Raises NotReady if a server does not start."""
        with ExitStack() as stack:
            processes = stack.enter_context(Processes())
            receivers = stack.enter_context(LoopbackServer(self._inbox.application()))
            folder = processes.directory("observe-")
            factor = self._sandbox.factor
            routes = folder / "alertmanager.yml"
            routes.write_text(yaml.safe_dump(compress_alertmanager(factor, receivers.url), sort_keys=False))
            self.alertmanager = alertmanager(processes, routes, folder / "alertmanager")
            for name, document in compress_rules(factor).items():
                (folder / name).write_text(yaml.safe_dump(document, sort_keys=False))
            self._config, port = folder / "prometheus.yml", free_port()
            self.prometheus = prometheus(processes, self._config, folder / "prometheus", port=port)
            self._document = self._prometheus_document(port)
            self._config.write_text(yaml.safe_dump(self._document, sort_keys=False))
            self.alertmanager.bring_up()
            self.prometheus.bring_up()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def scrape_handlers(self, *urls: str) -> None:
        """Scrape these processes of the handlers from now on."""
        (job,) = [job for job in self._document["scrape_configs"] if job["job_name"] == "pancake_handlers"]
        job["static_configs"] = [{"targets": [urlsplit(url).netloc for url in urls]}]
        self._config.write_text(yaml.safe_dump(self._document, sort_keys=False))
        assert self.prometheus.process is not None
        self.prometheus.process.send_signal(signal.SIGHUP)

    def _prometheus_document(self, port: int) -> dict[str, Any]:
        edge = self._sandbox.edge
        assert isinstance(edge, NginxEdge)
        urls = {
            "pancake_handlers": self._sandbox.handlers_url,
            "pancake_edge": edge.ops_url,
            "prometheus": f"http://127.0.0.1:{port}",
            "alertmanager": self.alertmanager.url,
        }
        targets = {job: urlsplit(url).netloc for job, url in urls.items()}
        return compress_prometheus(self._sandbox.factor, targets, targets["alertmanager"])
