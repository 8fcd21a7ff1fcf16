"""The breakages of proofs/incidents/breakages.py, and those that need a fake."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ops.metadata.engine import Engine
from proofs.incidents.breakages import BREAKAGES as REAL
from proofs.incidents.breakages import Break, Breakage, Installation, Variables
from tests.support.fake_services import edge_status


@contextmanager
def spooling_edge(system: Installation) -> Iterator[Variables]:
    """An edge whose path to Hasura fails, and whose spool has grown."""
    with edge_status(spooled=640, skipped="hasura") as url:
        yield {"EDGE_STATUS_URL": url}


def engine_method(name: str, method: Callable[[Engine], Any]) -> Break:
    @contextmanager
    def replaced(system: Installation) -> Iterator[Variables]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Engine, name, method)
            yield {}

    return replaced


def export_without_a_cron_of_staging() -> Callable[[Engine], Any]:
    """The engine that is asked first is our own."""
    export, asked = Engine.export, []

    def exported(engine: Engine) -> tuple[dict[str, Any], int]:
        asked.append(engine)
        metadata, version = export(engine)
        if engine is asked[0]:
            return metadata, version
        return metadata | {"cron_triggers": metadata["cron_triggers"][1:]}, version

    return exported


ENDS_WITH_COMMAND = re.compile(
    r"(?:^|[:;]\s(?:then )?)"
    r"(?:(?:leads|hasura|systemctl|docker compose|tail|df|psql|timedatectl) [^;:]*|pancake-handlers"
    r"|psql: [^;]*|printf '[\s\S]*)$"
)
"""Of a piece of advice that ends with a command that a person can copy."""


_AFTER = [each.name for each in REAL].index("the edge is away") + 1
BREAKAGES = (
    *REAL[:_AFTER],
    Breakage(
        "the spool of the edge grows", spooling_edge, "spool", "640 deliveries wait.*hasura",
        "EdgeSpoolStuck",
    ),
    *REAL[_AFTER:],
    Breakage(
        "staging differs", engine_method("export", export_without_a_cron_of_staging()),
        criteria="staging-metadata",
    ),
    Breakage(
        "a late engine", engine_method("version", lambda _: "v2.51.0"),
        criteria="engine-version engine-no-downgrade",
    ),
    Breakage("an old engine", engine_method("version", lambda _: "v2.50.5"), criteria="engine-version"),
)  # fmt: skip
"""Those with a check in the order of the table in docs/runbook/tickets-and-switches.md."""
