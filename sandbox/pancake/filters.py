"""The vendor's filter grammar (`filter=` of the list): a time range for the index, a test for the rest."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sandbox.pancake.store import microseconds

Test = Callable[[dict[str, Any]], bool]
EVERYTHING = (-(2**62), 2**62)


@dataclass(frozen=True)
class Filter:
    """`low` and `high` bound `modified_on` in microseconds; `accepts` tests what the bounds cannot."""

    low: int = EVERYTHING[0]
    high: int = EVERYTHING[1]
    accepts: Test | None = None


def read_filter(text: str | None, zone: timedelta) -> Filter:
    """Parse the parameter; naive times have the UTC offset `zone`. Raises ValueError if it is invalid."""
    if not text:
        return Filter()
    wanted = json.loads(text)
    fields = wanted.get("fields") or []
    search = str(wanted.get("search_all") or "").strip().lower()
    if len(fields) == 1 and not search and _is_range(fields[0]):
        low, high = (_moment(value, zone) for value in fields[0]["value"])
        return Filter(microseconds(low), microseconds(high))
    tests = [_condition(condition, zone) for condition in fields]
    combine = any if wanted.get("is_group") else all
    return Filter(accepts=lambda r: (not tests or combine(t(r) for t in tests)) and _found(r, search))


def _is_range(condition: dict[str, Any]) -> bool:
    return (
        condition.get("field_name") == "modified_on"
        and condition.get("type") == "$date_time"
        and not condition.get("is_filter_exclude")
    )


def _moment(value: str, zone: timedelta) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC) - zone


def _found(record: dict[str, Any], search: str) -> bool:
    return not search or any(search in str(value).lower() for value in record.values() if value)


def _condition(condition: dict[str, Any], zone: timedelta) -> Test:
    name, kind, value = condition["field_name"], condition.get("type"), condition.get("value")
    operator = _OPERATORS.get(str(kind))
    if operator is None:
        raise ValueError(f"unknown operator {kind}")
    if kind == "$date_time":
        value = [_moment(item, zone) for item in value or ()]
    negated = bool(condition.get("is_filter_exclude"))
    return lambda record: operator(record.get(name), value) != negated


def _between(have: Any, want: Any) -> bool:
    if not have:
        return False
    moment = datetime.fromisoformat(str(have))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return bool(want[0] <= moment <= want[1])


def _any_of(have: Any, want: Any) -> bool:
    return bool({str(item) for item in (have if isinstance(have, list) else [have])} & {str(i) for i in want})


_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$having_value": lambda have, _: have not in (None, "", []),
    "$having_no_value": lambda have, _: have in (None, "", []),
    "$enter_value": lambda have, want: str(want).lower() in str(have or "").lower(),
    "$select_multi": _any_of,
    "$association": _any_of,
    "$date_time": _between,
    "$greater_than": lambda have, want: have is not None and float(have) > float(want),
    "$less_than": lambda have, want: have is not None and float(have) < float(want),
    "$greater_than_equal": lambda have, want: have is not None and float(have) >= float(want),
    "$less_than_equal": lambda have, want: have is not None and float(have) <= float(want),
}
