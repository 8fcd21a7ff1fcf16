"""The static SQL of the stand-in, one file per statement."""

from functools import cache
from pathlib import Path


@cache
def statement(name: str) -> bytes:
    """The text of `sql/<name>.sql`."""
    return Path(__file__).with_name(f"{name}.sql").read_bytes()
