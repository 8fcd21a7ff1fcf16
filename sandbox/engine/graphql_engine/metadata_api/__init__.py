"""The metadata API: a command changes a copy of the metadata, which the engine adopts or refuses."""

from graphql_engine.metadata_api import (
    actions,
    collections,
    cron,
    events,
    permissions,
    suggestions,
    tables,
    transforms,
    whole,
)
from graphql_engine.metadata_api.dispatch import run

__all__ = [
    "actions",
    "collections",
    "cron",
    "events",
    "permissions",
    "run",
    "suggestions",
    "tables",
    "transforms",
    "whole",
]
