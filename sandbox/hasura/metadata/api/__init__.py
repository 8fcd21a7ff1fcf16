"""The metadata API: one request in, one answer out, the engine changed in between or not at all."""

from sandbox.hasura.metadata.api import (
    actions,
    collections,
    cron,
    events,
    functions,
    permissions,
    refused,
    relationships,
    roles,
    scheduled,
    tables,
    whole,
)
from sandbox.hasura.metadata.api.dispatch import run

__all__ = [
    "actions",
    "collections",
    "cron",
    "events",
    "functions",
    "permissions",
    "refused",
    "relationships",
    "roles",
    "run",
    "scheduled",
    "tables",
    "whole",
]
