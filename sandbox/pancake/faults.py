"""Faults that can be switched on. All are off at the start."""

from dataclasses import dataclass, fields
from typing import Any


@dataclass
class Faults:
    """Faults of the REST API and of the webhook sender; probabilities are between 0 and 1."""

    down: bool = False
    """REST answers 503 with `Retry-After`."""
    error_rate: float = 0
    """Share of REST requests answered 500."""
    slow_seconds: float = 0
    """Delay of every REST answer."""
    rate_limited: bool = False
    """REST answers 429."""
    unauthorized: bool = False
    """REST answers 401, as for a disabled key."""
    success_false: bool = False
    """REST answers 200 with `success: false`."""
    ignore_filter: bool = False
    """The list ignores `filter`."""
    wrong_filter: bool = False
    """The list reads the filter as another year and returns no records."""
    repeat_cursor: bool = False
    """Every page returns the cursor of the first page."""
    truncate_body: bool = False
    """REST bodies end after half of their bytes."""
    cut_page: int = 0
    """Number of records that each full page omits."""
    lag_seconds: float = 0
    """Time until a write appears in the list."""
    drop: float = 0
    """Share of webhooks never sent."""
    duplicate: float = 0
    """Share of webhooks sent twice."""
    delay: float = 0
    """Share of webhooks sent `delay_seconds` late, and so after newer ones."""
    delay_seconds: float = 1

    def change(self, values: dict[str, Any]) -> None:
        """Set some faults. Raises ValueError for an unknown name or a value of the wrong type."""
        kinds = {item.name: type(item.default) for item in fields(self)}
        for name, value in values.items():
            if name not in kinds:
                raise ValueError(f"unknown fault {name}; use one of {', '.join(kinds)}")
            if kinds[name] is bool and not isinstance(value, bool):
                raise ValueError(f"{name} must be true or false, not {value!r}")
            if kinds[name] is not bool and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise ValueError(f"{name} must be a number, not {value!r}")
            setattr(self, name, value)

    def reset(self) -> None:
        """Switch every fault off."""
        self.change({item.name: item.default for item in fields(self)})
