"""The engines of an evaluation: the one of HASURA_URL, and staging; each opened when it is first asked."""

from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.checks.services import own_metadata
from ops.clients.hasura_admin import HasuraAdmin
from ops.golive.deploy.plan_file import PlanFile
from ops.golive.measuring import SourceDown
from ops.golive.precheck.manifest import Manifest, read_manifest
from ops.metadata.deploy import BACKUPS, Deployment, Files
from ops.metadata.engine import Engine
from ops.settings import OperatorSettings, read_operator_settings

REQUEST_SECONDS = 10.0
VARIABLES = (
    "DATABASE_URL", "HASURA_URL", "HASURA_ADMIN_SECRET", "HASURA_OTHER_ADMIN_SECRET", "PUBLIC_URL",
    "HANDLERS_URL", "EDGE_STATUS_URL",
)  # fmt: skip


class Link:
    """What probes ask besides the database and Prometheus. A context manager; it raises SourceDown."""

    def __init__(self, plan: PlanFile, source: str, folder: Path) -> None:
        self.plan = plan
        self.source = source
        self.folder = folder
        self.engine_problem = ""
        """Why the engine did not answer, once it did not."""
        self._open = ExitStack()

    @cached_property
    def settings(self) -> OperatorSettings:
        return read_operator_settings(may_have=VARIABLES)

    @cached_property
    def deployment(self) -> Deployment:
        """Our metadata and the engine of HASURA_URL."""
        settings = self.settings
        if not settings.hasura_url or not settings.hasura_admin_secret:
            raise SourceDown("HASURA_URL and HASURA_ADMIN_SECRET are not set.")
        engine = self._engine(settings.hasura_url, settings.hasura_admin_secret)
        return Deployment(engine, Files(BACKUPS, engine.url), own_metadata(), self.source)

    @cached_property
    def staging(self) -> Deployment:
        """The same of the engine that golive.yaml names as `staging_url`."""
        secret = self.settings.hasura_other_admin_secret
        if not self.plan.staging_url or not secret:
            raise SourceDown("staging_url of golive.yaml and HASURA_OTHER_ADMIN_SECRET are not set.")
        return replace(self.deployment, engine=self._engine(self.plan.staging_url, secret))

    @cached_property
    def manifest(self) -> Manifest:
        """How the engine is started, by the file that golive.yaml names as `engine_manifest`."""
        if not self.plan.engine_manifest:
            raise SourceDown("engine_manifest of golive.yaml is not set.")
        return read_manifest(Path(self.plan.engine_manifest))

    def as_role(self, role: str) -> HasuraAdmin:
        """Return a client that has the rights of a role only."""
        settings = self.settings
        client = HasuraAdmin(
            settings.hasura_url, settings.hasura_admin_secret, {"X-Hasura-Role": role}, REQUEST_SECONDS
        )
        return self._open.enter_context(client)

    def public_url(self) -> str:
        if not self.settings.public_url:
            raise SourceDown("PUBLIC_URL is not set.")
        return self.settings.public_url.rstrip("/")

    def _engine(self, url: str, secret: str) -> Engine:
        return Engine(self._open.enter_context(HasuraAdmin(url, secret, timeout_seconds=REQUEST_SECONDS)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
