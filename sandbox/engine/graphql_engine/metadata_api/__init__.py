"""The metadata API: one request in, one answer out, the engine changed in between or not at all."""

from graphql_engine.metadata_api import (
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
from graphql_engine.metadata_api.dispatch import run

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
