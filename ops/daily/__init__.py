"""The verbs of each day."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEXTS: Mapping[str, Mapping[str, Any]] = tomllib.loads(
    Path(__file__).with_name("texts.toml").read_text("utf-8")
)
"""Their words, by module."""
