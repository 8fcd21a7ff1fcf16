"""Diva's project of the Hasura CLI, alone and with our part in it."""

import shutil
from pathlib import Path

from ops.metadata.deploy import Step
from ops.metadata.directory import DIRECTORY
from ops.metadata.merge import find_layout, find_our_part, plan_merge, write_plan
from sandbox.diva import CONFIG, METADATA


def copy_project(root: Path) -> None:
    """Copy Diva's project to `root`, which must not exist."""
    shutil.copytree(METADATA, root / METADATA.name)
    shutil.copy(CONFIG, root)


def merge_project(root: Path) -> Path:
    """Copy Diva's project to `root` and do what `leads metadata merge` does; return the metadata directory.

    An engine starts with one metadata directory, and our metadata refers to Diva's tables.
    """
    copy_project(root)
    write_plan(plan_merge(find_our_part(find_layout(root, None), Step.AFTER_SERVICES, DIRECTORY)))
    return root / METADATA.name
