"""Merged metadata contains both directories, or the merge refuses."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.diva import METADATA
from sandbox.postgres.database import MIGRATIONS
from sandbox.processes import Processes
from sandbox.stack.hasura import metadata_arguments, start_engine
from sandbox.stack.merge_metadata import MergeError, join_sdl, merge_directories

INTEGRATION = MIGRATIONS.parents[1] / "metadata"


def exported(database: str, *directories: Path) -> Any:
    """Return the metadata of an engine with these directories."""
    environment = {
        "PG_DATABASE_URL": database,
        "HANDLERS_URL": "http://127.0.0.1:9",
        "HANDLER_SECRET": "secret",
        "NOTIFICATIONS_URL": "http://127.0.0.1:9",
    }
    with Processes() as processes:
        arguments = metadata_arguments(*directories)
        engine = start_engine(processes, database, *arguments, environment=environment)
        answer = httpx.post(f"{engine.url}/v1/metadata", json={"type": "export_metadata", "args": {}})
    return answer.raise_for_status().json()


def test_the_merged_directory_equals_both_directories(database: str, tmp_path: Path) -> None:
    merge_directories(tmp_path / "merged", [INTEGRATION, METADATA])
    assert exported(database, tmp_path / "merged") == exported(database, INTEGRATION, METADATA)


def test_an_object_defined_in_two_directories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="sendNotifications"):
        merge_directories(tmp_path / "merged", [METADATA, METADATA])


def test_there_is_one_mutation_type() -> None:
    joined = join_sdl(["type Mutation { a: Int }\ntype A { x: Int! }", "type Mutation { b(c: Int!): A }"])
    assert joined.count("type Mutation") == 1
    assert "b(c: Int!): A" in joined
    assert "type A {" in joined
