"""A running sandbox whose conditions can be broken one by one, each with how it is mended."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from leads.adapters.hasura_admin import HasuraAdmin
from leads.cli.golive.precheck.link import Link
from leads.cli.metadata.engine import Engine
from sandbox.stack.services import ROOT
from sandbox.stack.stack import Sandbox
from tests.support.golive_prometheus import RETENTION, FakePrometheus

MANIFEST = ROOT / "deploy" / "kubernetes" / "hasura.yaml"


@dataclass(frozen=True)
class Ground:
    """The sandbox, the folder with golive.yaml and the engine's manifest, and a stand-in for Prometheus.

    `environment` has variables that take precedence over those of the sandbox.
    """

    sandbox: Sandbox
    folder: Path
    prometheus: FakePrometheus
    environment: dict[str, str] = field(default_factory=dict)

    def sql(self, statement: str) -> None:
        with psycopg.connect(self.sandbox.database_url, autocommit=True) as db:
            db.execute(statement.encode())

    def metadata(self, kind: str, args: Mapping[str, Any]) -> None:
        """Call the engine's metadata API."""
        httpx.post(
            f"{self.sandbox.hasura_url}/v1/metadata",
            json={"type": kind, "args": args},
            headers={"X-Hasura-Admin-Secret": self.sandbox.keys.admin_secret},
            timeout=30,
        ).raise_for_status()

    def write_manifest(self, edit: Callable[[dict[str, Any]], None] = lambda pod: None) -> None:
        """Write the example of the repository, with its Pod edited."""
        documents = list(yaml.safe_load_all(MANIFEST.read_text("utf-8")))
        edit(documents[0]["spec"]["template"]["spec"])
        (self.folder / "hasura.yaml").write_text(yaml.safe_dump_all(documents))

    def note_snapshot(self, hours: float) -> None:
        """Have a snapshot of that age, as `leads golive deploy` notes it."""
        dump = self.folder / "a.dump"
        dump.write_bytes(b"rows")
        entry = {
            "at": (datetime.now(UTC) - timedelta(hours=hours)).isoformat(), "event": "snapshot",
            "when": "before", "step": "snapshot", "file": dump.name, "sha256": sha256(b"rows").hexdigest(),
        }  # fmt: skip
        (self.folder / "deploy.jsonl").write_text(json.dumps(entry) + "\n")


Breakage = Callable[[Ground], "Iterator[None]"]


def by_sql(breaks: str, mends: str) -> Breakage:
    def broken(ground: Ground) -> Iterator[None]:
        ground.sql(breaks)
        yield
        ground.sql(mends)

    return broken


def by_metadata(breaks: tuple[str, Any], mends: tuple[str, Any]) -> Breakage:
    def broken(ground: Ground) -> Iterator[None]:
        ground.metadata(*breaks)
        yield
        ground.metadata(*mends)

    return broken


def by_manifest(edit: Callable[[dict[str, Any]], None]) -> Breakage:
    def broken(ground: Ground) -> Iterator[None]:
        ground.write_manifest(edit)
        yield
        ground.write_manifest()

    return broken


def by_patch(owner: object, name: str, value: object) -> Breakage:
    def broken(ground: Ground) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, value)
            yield

    return broken


def by_another_edge(ground: Ground) -> Iterator[None]:
    """Have the public URL lead to another service."""
    ground.environment["PUBLIC_URL"] = ground.sandbox.hasura_url
    yield
    del ground.environment["PUBLIC_URL"]


def by_short_retention(ground: Ground) -> Iterator[None]:
    kept = ground.prometheus.flags.pop(RETENTION)
    ground.prometheus.flags[RETENTION] = "15d"
    yield
    ground.prometheus.flags[RETENTION] = kept


def by_old_snapshot(ground: Ground) -> Iterator[None]:
    ground.note_snapshot(30)
    yield
    ground.note_snapshot(1)


def by_broken_object(ground: Ground) -> Iterator[None]:
    """Drop a tracked table of others."""
    table = {"source": "default", "table": {"schema": "public", "name": "of_others"}}
    ground.sql("CREATE TABLE of_others (id integer PRIMARY KEY)")
    ground.metadata("pg_track_table", table)
    ground.sql("DROP TABLE of_others")
    ground.metadata("reload_metadata", {})
    yield
    ground.metadata("drop_inconsistent_metadata", {})


def by_other_staging(ground: Ground) -> Iterator[None]:
    """Have staging, the second engine that is opened, lack a cron trigger."""
    opened: list[str] = []

    def open_engine(link: Link, url: str, secret: str) -> Engine:
        opened.append(url)
        return (WithoutCron if len(opened) > 1 else Engine)(
            link._open.enter_context(HasuraAdmin(url, secret))
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Link, "_engine", open_engine)
        yield


class WithoutCron(Engine):
    """An engine that hides its first cron trigger."""

    def export(self) -> tuple[dict[str, Any], int]:
        metadata, version = super().export()
        return metadata | {"cron_triggers": metadata["cron_triggers"][1:]}, version


def no_package(name: str) -> str:
    raise PackageNotFoundError(name)


def set_variable(name: str, value: str) -> Callable[[dict[str, Any]], None]:
    """Set a variable of the engine's container."""

    def edit(pod: dict[str, Any]) -> None:
        environment = [each for each in pod["containers"][0]["env"] if each["name"] != name]
        pod["containers"][0]["env"] = [*environment, {"name": name, "value": value}]

    return edit


def set_image(pod: dict[str, Any]) -> None:
    pod["containers"][0]["image"] = "hasura/graphql-engine:v2.48.1"


@contextmanager
def broken(ground: Ground, breakage: Breakage) -> Iterator[None]:
    """Break it for the block, and mend it in any case."""
    steps = breakage(ground)
    next(steps)
    try:
        yield
    finally:
        next(steps, None)
