"""Diva's side of the sandbox: the tables, metadata and notification service that exist before ours."""

from pathlib import Path

HERE = Path(__file__).parent
BASE_SQL = HERE / "base.sql"
SEED_SQL = HERE / "seed.sql"
METADATA = HERE / "metadata"
