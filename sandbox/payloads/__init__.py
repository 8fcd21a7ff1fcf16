"""The sample deliveries and the expected result of each; README.md explains the files."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Effect:
    """The traces of one event, seen or expected; None or empty means that there must be none."""

    row: dict[str, str] = field(default_factory=dict)
    phone: str | None = None
    account: str | None = None
    contact: str | None = None
    ticket: str | None = None
    owner: bool = False
    notifications: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Expectation(Effect):
    """The expected result of one delivery."""

    answer: str = ""
    error_code: str | None = None


@dataclass(frozen=True)
class Sample:
    """One delivery: its name, its bytes and the expected result."""

    name: str
    title: str
    kind: str
    body: bytes
    after: tuple[str, ...]
    expect: Expectation


def load_samples() -> list[Sample]:
    """Return all samples in the order of their names.

    Raises ValueError if an expectation has no body, or TypeError if it has an unknown key.
    """
    return [_sample(path) for path in sorted(HERE.glob("*.expect.yaml"))]


def _sample(path: Path) -> Sample:
    name = path.name.removesuffix(".expect.yaml")
    bodies = [found for found in HERE.glob(f"{name}.*") if found != path]
    if len(bodies) != 1:
        raise ValueError(
            f"{path} has {len(bodies)} body files. Put exactly one {name}.json or .txt beside it."
        )
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    title, kind, after = content.pop("title"), content.pop("kind"), tuple(content.pop("after", ()))
    return Sample(name, title, kind, bodies[0].read_bytes(), after, Expectation(**content))
