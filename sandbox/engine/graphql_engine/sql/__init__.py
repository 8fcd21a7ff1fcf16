"""The static SQL of the stand-in, one file per statement or set of tables."""

from functools import cache
from pathlib import Path


@cache
def statement(name: str) -> bytes:
    return Path(__file__).with_name(f"{name}.sql").read_bytes()
