"""Files of commands: each is replaced as a whole, and recognised by its digest."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path


@contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[Path]:
    """Yield the path of a new file beside `path`, which takes its place if the block ends without an error.

    Without another `mode` only its owner may read it. It is on disk when the block has ended. Raises OSError.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.partial")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode)
    try:
        yield fresh
        _sync(fresh)
        fresh.replace(path)
        _sync(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


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
