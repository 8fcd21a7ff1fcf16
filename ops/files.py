"""Files of commands: each is replaced as a whole, and recognised by its digest."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST
from glob import escape
from hashlib import file_digest, sha256
from pathlib import Path


@contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[Path]:
    """Yield the path of a new file beside `path`, which takes its place if the block ends without an error.

    Without another `mode` only its owner may read it. It is on disk when the block has ended. What killed
    processes left of files of its kind, in its folder, is removed before. Raises OSError.
    """
    _remove_abandoned(path)
    fresh = path.with_name(f"{path.name}.{secrets.randbelow(10**12)}.partial")
    descriptor = _create_locked(fresh, mode)
    try:
        yield fresh
        _sync(fresh)
        fresh.replace(path)
        _sync(path.parent)
    finally:
        fresh.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def making_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, which gets that name if the block ends without an error.

    One process at a time: the next one removes what a killed one left. Raises OSError, if the name is taken
    FileExistsError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(".new.partial")
    lock = path.with_name(".new.lock")  # not the folder: NFS locks only what is open for writing
    descriptor = _create_locked(lock, 0o600, os.O_NOFOLLOW)
    try:
        if path.exists():
            raise FileExistsError(EEXIST, os.strerror(EEXIST), str(path))
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        yield fresh
        fresh.rename(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _create_locked(fresh: Path, mode: int, flags: int = os.O_EXCL) -> int:
    """Create a file and lock it; return its descriptor."""
    while True:
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | flags, mode)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # another process removed it before it was locked


def _remove_abandoned(path: Path) -> None:
    """Remove partial files of this kind beside `path` that no process has locked."""
    for partial in path.parent.glob(f"*{escape(path.suffix or path.name)}.[0-9]*.partial"):
        with suppress(OSError), open(partial, opener=_without_waiting) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file.fileno()).st_nlink:  # else the name is that of a newer file
                partial.unlink()


def _without_waiting(path: str, flags: int) -> int:
    """Open what may be a pipe, or a link to elsewhere."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def write_file(path: Path, content: str | bytes) -> None:
    """Replace a file as `replacing` does."""
    with replacing(path) as fresh:
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)


def private(path: str, flags: int) -> int:
    """Open a file, for `open(…, opener=private)`; a new one is for its owner only."""
    return os.open(path, flags, 0o600)


def append_line(path: Path, line: bytes) -> None:
    """Append a line, and return when it is on disk; a line that a stop has cut off stays another one.

    Only its owner may read a new file. Raises OSError.
    """
    with open(path, "a+b", opener=private) as file:
        file.seek(max(file.tell() - 1, 0))
        is_cut_off = file.read(1) not in (b"", b"\n")
        file.write(b"\n" * is_cut_off + line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    _sync(path.parent)


def digest_of(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return sha256(content).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 of a file of any size. Raises OSError."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
