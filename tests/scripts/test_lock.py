"""The lock files hold what pyproject.toml declares, and install from any index."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "scripts" / "lock"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# A pinned package with its marker, then one hash per line: `name==1.2 ; marker \` and `    --hash=sha256:…`.
ENTRY = re.compile(r"^([a-z0-9-]+)==(\S+)[^\\\n]*((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n", re.MULTILINE)


def group(name: str) -> list[str]:
    """The requirements of a dependency group and of the groups that it includes."""
    found: list[str] = []
    for entry in PYPROJECT["dependency-groups"][name]:
        found += group(entry["include-group"]) if isinstance(entry, dict) else [entry]
    return found


def pins(file: str) -> dict[str, str]:
    return {found[1]: found[2] for found in ENTRY.finditer((LOCK / file).read_text("utf-8"))}


@pytest.mark.parametrize(
    ("file", "declared"),
    [
        ("runtime.txt", PYPROJECT["project"]["dependencies"]),
        ("build.txt", [*PYPROJECT["build-system"]["requires"], *group("build")]),
        ("dev.txt", [*PYPROJECT["project"]["dependencies"], *group("dev")]),
    ],
)
def test_a_lock_file_pins_a_fitting_release_of_every_requirement(file: str, declared: list[str]) -> None:
    pinned = pins(file)
    unfit = [
        text
        for text in declared
        if not (need := Requirement(text)).specifier.contains(pinned.get(canonicalize_name(need.name), "0"))
    ]
    assert unfit == []


@pytest.mark.parametrize("file", ["runtime.txt", "build.txt"])
def test_dev_pins_the_releases_that_the_image_has(file: str) -> None:
    assert pins(file).items() <= pins("dev.txt").items()


@pytest.mark.parametrize("path", sorted(LOCK.glob("*.txt")), ids=lambda path: path.name)
def test_a_lock_file_holds_pins_with_hashes_and_nothing_else(path: Path) -> None:
    """No address of an index, no option, no package without a hash."""
    assert ENTRY.sub("", path.read_text("utf-8")) == ""
