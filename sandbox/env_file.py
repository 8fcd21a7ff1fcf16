"""The form of `.env`, which scripts/_env_file reads: NAME=value, in single quotes where it needs them."""

from collections.abc import Mapping
from shlex import quote


def env_lines(values: Mapping[str, str]) -> list[str]:
    """Return a line for each variable. Raises ValueError for a value that the form cannot hold."""
    for name, value in values.items():
        if "'" in value or not value.isprintable():
            raise ValueError(f"the value of {name} has a quote or a control character")
    return [f"{name}={quote(value) if value else ''}" for name, value in values.items()]
