"""The metadata API: a command changes a copy of the metadata, which the engine adopts or refuses."""

from graphql_engine.metadata_api import collections, tables, triggers, whole
from graphql_engine.metadata_api.dispatch import run

__all__ = ["collections", "run", "tables", "triggers", "whole"]
