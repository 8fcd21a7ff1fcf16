"""A sandbox with a real Prometheus and Alertmanager beside it, whose rules are faster by a factor."""

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import yaml

from sandbox.edge.nginx import NginxEdge
from sandbox.monitoring.compression import compress_alertmanager, compress_prometheus, compress_rules
from sandbox.monitoring.handlers import FACTOR
from sandbox.monitoring.prometheus import alertmanager, prometheus
from sandbox.monitoring.receiver import Inbox
from sandbox.postgres.server import Cluster, free_port
from sandbox.processes import Processes
from sandbox.serving import LoopbackServer
from sandbox.stack.stack import Sandbox

DEFAULT_FACTOR = 30.0
"""Ten minutes are 20 s; a range of five minutes still has ten scrapes."""


class ObservedSandbox(Sandbox):
    """A sandbox whose handlers show figures of the database that are as new as the factor needs."""

    application = "sandbox.monitoring.handlers:create_app"

    def __init__(
        self, cluster: Cluster | None = None, server_url: str | None = None, factor: float = DEFAULT_FACTOR
    ) -> None:
        super().__init__(cluster, server_url)
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
            config = folder / "prometheus.yml"
            self.prometheus = prometheus(processes, config, folder / "prometheus", port=(port := free_port()))
            config.write_text(yaml.safe_dump(self._prometheus_document(port), sort_keys=False))
            for service in (self.alertmanager, self.prometheus):
                service.start()
                service.wait_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _prometheus_document(self, port: int) -> dict[str, object]:
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
