"""Merged metadata contains both directories, or the merge refuses."""

from pathlib import Path

import pytest

from sandbox.database import MIGRATIONS
from sandbox.diva import METADATA
from sandbox.hasura.metadata.directory import read_directories
from sandbox.merge_metadata import MergeError, join_sdl, merge_directories

OURS = MIGRATIONS.parents[1] / "metadata"


def test_the_merged_directory_equals_both_directories(tmp_path: Path) -> None:
    merge_directories(tmp_path / "merged", [OURS, METADATA])
    merged, both = read_directories([tmp_path / "merged"]), read_directories([OURS, METADATA])
    assert merged == both


def test_an_object_defined_in_two_directories_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="sendNotifications"):
        merge_directories(tmp_path / "merged", [METADATA, METADATA])


def test_there_is_one_mutation_type() -> None:
    joined = join_sdl(["type Mutation { a: Int }\ntype A { x: Int! }", "type Mutation { b(c: Int!): A }"])
    assert joined.count("type Mutation") == 1
    assert "b(c: Int!): A" in joined
    assert "type A {" in joined
