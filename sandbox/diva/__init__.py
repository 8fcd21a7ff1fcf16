"""Diva's part of the sandbox: tables, metadata and notification service."""

from pathlib import Path

HERE = Path(__file__).parent
BASE_SQL = HERE / "base.sql"
SEED_SQL = HERE / "seed.sql"
METADATA = HERE / "metadata"
CONFIG = HERE / "config.yaml"
"""Of the project of the Hasura CLI that the metadata are of."""
