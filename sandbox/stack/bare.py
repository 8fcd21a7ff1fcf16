"""A customer's systems before the go-live: Diva's tables and engine, Pancake; what a service manager does."""

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from sandbox.diva import METADATA as DIVA_METADATA
from sandbox.edge import NginxEdge
from sandbox.postgres import binaries
from sandbox.postgres.database import grant_rights, install_diva
from sandbox.postgres.server import Cluster
from sandbox.processes import ROOT, Service, bring_up
from sandbox.stack import hasura
from sandbox.stack.connection import WORKSPACE_ID
from sandbox.stack.stack import Sandbox

WATCH_SECONDS = 0.05
SOURCE = "-1"
VERSION, FORMER_VERSION = "2.0.0", "1.0.0"
OF_ENGINE = ("HANDLERS_URL", "HANDLER_SECRET")
"""What a customer adds to the engine's environment."""


class BareSandbox(Sandbox):
    """A sandbox without our migrations and metadata, for `leads golive deploy`. It needs the real edge.

    `folder` is the working directory of `leads`: golive.yaml, api-key.txt, and what the commands write. A
    thread is the service manager: it starts and stops edge and handlers when the commands of golive.yaml
    touch a file.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        super().__init__(cluster)
        self.folder = folder
        self._is_closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def start(self) -> None:
        """Start what exists before the go-live, and write golive.yaml."""
        self.cluster.create_database(self.database)
        self._drops_database = True
        install_diva(self.database_url)
        grant_rights(self.cluster.url("postgres"))  # the logins; their rights here come with step 8b
        self.engines = self._engines()
        self._start_surroundings()
        self.handlers = self._handlers("handlers")
        self.edge = self._edge()
        self._write_plan()
        self._watcher.start()

    def close(self) -> None:
        self._is_closing.set()
        super().close()

    def leads_environment(self) -> dict[str, str]:
        """The environment of an operator, who is the owner of the tables."""
        path = os.pathsep.join([str(binaries.find()), os.environ["PATH"]])
        given = self.environment()
        return {
            **{name: given[name] for name in given if not name.startswith(("WEBHOOK", "PANCAKE_C"))},
            "PUBLIC_URL": self.edge_url, "EDGE_SECRET": self.keys.edge_secret,
            "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(self.folder),
        }  # fmt: skip

    def _start_surroundings(self) -> None:
        """Start Diva's engine and notification service, and Pancake without a webhook."""
        self._add_surroundings()
        bring_up(self.hasura, self.notifications, self.pancake)
        self._forbid_notifications()

    def _forbid_notifications(self) -> None:
        """Diva's engine has not heard of our role yet."""
        permission = {"action": "sendNotifications", "role": "pancake_service"}
        httpx.post(
            f"{self.hasura_url}/v1/metadata", json={"type": "drop_action_permission", "args": permission},
            headers={"X-Hasura-Admin-Secret": self.keys.admin_secret},
        ).raise_for_status()  # fmt: skip

    def _hasura_arguments(self) -> list[str]:
        return hasura.metadata_option(DIVA_METADATA, self.home / "metadata.json")

    def _handlers(self, name: str, *, is_shared: bool = False) -> Service:
        handlers = super()._handlers(name, is_shared=is_shared)
        handlers.environment = {**handlers.environment, "VERSION": VERSION}
        return handlers

    def _write_plan(self) -> None:
        plan = {
            "services": {
                "edge": {"do": f"touch {self.folder}/edge.start", "undo": f"touch {self.folder}/edge.stop"},
                "handlers": {
                    "do": f"touch {self.folder}/handlers.start", "undo": f"touch {self.folder}/handlers.stop",
                    "back": f"touch {self.folder}/handlers.former",
                    "version": VERSION, "former_version": FORMER_VERSION,
                },
            },
            "pancake": {
                "name": "Diva", "workspace": WORKSPACE_ID, "key_file": "api-key.txt",
                "api_url": f"{self.pancake_url}/api",
            },
            "source": SOURCE, "roster": "telesale", "tell": "true",
        }  # fmt: skip
        (self.folder / "golive.yaml").write_text(yaml.safe_dump(plan))
        (self.folder / "api-key.txt").write_text(self.keys.pancake_api_key)

    def _watch(self) -> None:
        assert isinstance(self.edge, NginxEdge)
        asked: dict[str, Callable[[], None]] = {
            "edge.start": self.edge.start, "edge.stop": self.edge.stop,
            "handlers.start": lambda: self._run_handlers(VERSION), "handlers.stop": self.handlers.stop,
            "handlers.former": lambda: self._run_handlers(FORMER_VERSION),
        }  # fmt: skip
        while not self._is_closing.wait(WATCH_SECONDS):
            for name, act in asked.items():
                path = self.folder / name
                if path.exists():
                    path.unlink()
                    act()

    def _run_handlers(self, version: str) -> None:
        """Run the handlers as that version: the only difference is what /healthz names."""
        self.handlers.stop()
        self.handlers.environment = {**self.handlers.environment, "VERSION": version}
        self.handlers.start()


class Customer(BareSandbox):
    """Before `leads setup`: the engine lacks our variables, and there are neither handlers nor an edge.

    `folder` is the one in which the customer runs `leads`.
    """

    def start(self) -> None:
        """Start what the customer has."""
        self.cluster.create_database(self.database)
        self._drops_database = True
        install_diva(self.database_url)
        self.engines = self._engines()
        given = self.hasura.environment
        self.hasura.environment = {name: given[name] for name in given if name not in OF_ENGINE}
        self._start_surroundings()

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
        self.hasura.bring_up()
        self._forbid_notifications()
