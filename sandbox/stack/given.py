"""A sandbox around an engine that runs already: `scripts/test … --hasura URL`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import urlsplit

import psycopg

from ops.clients.hasura_admin import Engine, RequestRefused
from ops.daily.token import read_configuration
from ops.failures import WrongUsage
from ops.metadata.directory import Json, read_directory
from sandbox.diva.project import merge_project
from sandbox.postgres.database import migrate, run_file
from sandbox.postgres.server import Cluster
from sandbox.processes import NotReady, Service
from sandbox.stack.hasura import CRON_LOG
from sandbox.stack.stack import Sandbox

LOOPBACK = ("127.0.0.1", "localhost", "::1")
RUNS_HERE = "The engine has to run on this machine, outside of a container: it calls handlers on 127.0.0.1."
VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True)
class GivenEngine:
    """An engine that tracks nothing, and the key of its tokens.

    A sandbox puts the metadata of the integration there, and takes them away.
    """

    url: str
    admin_secret: str = field(repr=False)
    jwt_key: str = field(repr=False)

    @classmethod
    def check(cls, url: str, admin_secret: str, jwt_secret: str) -> Self:
        """Return the engine if a sandbox can use it; nothing is changed.

        `jwt_secret` is its HASURA_GRAPHQL_JWT_SECRET. Raises WrongUsage, and the errors of Engine.
        """
        if urlsplit(url).hostname not in LOOPBACK:
            raise WrongUsage(f"{url} cannot be used. {RUNS_HERE}")
        key = read_configuration(jwt_secret or "{}")
        if key.get("type") != "HS256" or not key.get("key"):
            raise WrongUsage(
                "HASURA_GRAPHQL_JWT_SECRET is missing: set it to the engine's value, of the type HS256."
            )
        given = cls(url.rstrip("/"), admin_secret, str(key["key"]))
        given.read_metadata()
        return given

    def open(self) -> Engine:
        return Engine(self.url, self.admin_secret)

    def read_metadata(self) -> tuple[Json, int]:
        """Return the metadata and their version. Raises WrongUsage unless they are empty."""
        with self.open() as engine:
            metadata, version = engine.export()
        held = [f"the source {each['name']}" for each in metadata["sources"] if each.get("tables")]
        lists = {name: value for name, value in metadata.items() if name != "sources"}
        held += [name for name, value in lists.items() if isinstance(value, list) and value]
        if held:
            raise WrongUsage(
                f"{self.url} has metadata, which the tests would replace: {', '.join(held)}. "
                "Name an engine without metadata, or clear them in its console."
            )
        return metadata, version


class SandboxAround(Sandbox):
    """A sandbox around an engine that runs already. `engines` is empty: nothing here starts or stops it."""

    def __init__(self, cluster: Cluster, given: GivenEngine) -> None:
        super().__init__(cluster)
        self._given = given
        self._former: Json | None = None
        self.hasura_url = given.url
        self.keys = replace(self.keys, admin_secret=given.admin_secret, jwt_key=given.jwt_key)

    def close(self) -> None:
        """Put the engine's former metadata back, then stop and drop everything else."""
        try:
            if self._former is not None:
                with self._given.open() as engine:
                    engine.replace(self._former, engine.export()[1])
        finally:
            super().close()

    def _engines(self) -> list[Service]:
        """Prepare the database, and put the project's metadata on the engine; there is none to start."""
        migrate(self.database_url)
        project = fill_in(read_directory(merge_project(self.home / "hasura")), self._service_variables())
        self._former, version = self._given.read_metadata()
        with self._given.open() as engine:
            try:
                engine.replace(project, version)
            except RequestRefused as error:
                raise NotReady(f"{error}\n{RUNS_HERE}") from error
        with psycopg.connect(self.database_url, autocommit=True) as db_connection:
            run_file(db_connection, CRON_LOG)
        return []


def fill_in(value: Any, variables: Mapping[str, str]) -> Any:
    """Return metadata with the values of variables, where an engine takes them from its environment."""
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: variables[found[1]], value)
    if isinstance(value, list):
        return [fill_in(each, variables) for each in value]
    if not isinstance(value, dict):
        return value
    if "from_env" in value:
        return variables[value["from_env"]]
    filled = {name: fill_in(each, variables) for name, each in value.items()}
    if "value_from_env" in filled:
        filled["value"] = variables[filled.pop("value_from_env")]
    return filled
