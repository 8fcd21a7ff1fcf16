"""The metadata API: a command changes a copy of the metadata, which the engine adopts or refuses."""

from graphql_engine.metadata_api import collections, cron, events, tables, whole
from graphql_engine.metadata_api.dispatch import run

__all__ = ["collections", "cron", "events", "run", "tables", "whole"]
