"""A customer's systems before `leads setup`: Diva's database, its engine, Pancake; no handlers, no edge."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sandbox.postgres.database import install_diva
from sandbox.stack.bare import SOURCE, BareSandbox
from sandbox.stack.connection import WORKSPACE_ID

OF_ENGINE = ("HANDLERS_URL", "HANDLER_SECRET")


class Customer(BareSandbox):
    """The engine lacks our variables; `folder` is the one in which the customer runs `leads`."""

    def start(self) -> None:
        """Start what the customer has."""
        self.cluster.create_database(self.database)
        self._drops_database = True
        install_diva(self.database_url)
        (self.hasura,) = self.engines = self._engines()
        given = self.hasura.environment
        self.hasura.environment = {name: given[name] for name in given if name not in OF_ENGINE}
        self.notifications = self._module("notifications", "sandbox.diva.notifications", ready="/healthz")
        self.pancake = self._module(
            "pancake", "sandbox.pancake", *self._pancake_arguments(),
            ready="/control/state", PANCAKE_API_KEY=self.keys.pancake_api_key,
        )  # fmt: skip
        services = (self.hasura, self.notifications, self.pancake)
        for service in services:
            service.start()
        for service in services:
            service.wait_ready()
        self._forbid_notifications()

    def answers(self) -> dict[str, Any]:
        """Return what `leads setup` asks."""
        return {
            "hasura_url": self.hasura_url, "admin_secret": self.keys.admin_secret,
            "owner_database_url": self.database_url, "handlers_url": self.handlers_url,
            "public_url": self.edge_url, "edge_handlers_url": self.handlers_url,
            "jwt_secret": self.keys.jwt_secret,
            "api_key": self.keys.pancake_api_key, "api_url": f"{self.pancake_url}/api",
            "workspace": WORKSPACE_ID, "lead_source": SOURCE, "roster": "telesale",
        }  # fmt: skip

    def write_answers(self, **changed: Any) -> Path:
        """Write the answers file; an answer of None is left out."""
        path = self.folder / "answers.yaml"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(self.answers() | changed))
        return path

    def restart_engine_with(self, variables: Mapping[str, str]) -> None:
        """Add the lines of engine.env to the engine's environment, and restart the engine."""
        self.hasura.stop()
        self.hasura.environment = {**self.hasura.environment, **variables}
        self.hasura.start()
        self.hasura.wait_ready()
        self._forbid_notifications()
