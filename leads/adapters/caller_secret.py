"""The secret that a caller of the handlers sends, and during a rotation the one before it until its end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from leads.adapters.secrets import MIN_SECRET_CHARACTERS, matches
from leads.domain.body import read_time

MAX_OVERLAP = timedelta(days=90)
"""How far ahead the end of a previous secret may be: as long as a token of `leads token` is valid."""


@dataclass(frozen=True, slots=True)
class CallerSecret:
    """The present secret, and the previous one until its end. No secret shows in its repr."""

    current: str = field(repr=False)
    previous: str = field(default="", repr=False)
    previous_until: datetime | None = None
    """An aware time; None without a previous secret."""

    def accepts(self, given: str | None, now: datetime) -> bool:
        """Whether it is the present secret, or the previous one before its end; compares in constant time."""
        has_previous = self.previous_until is not None and now < self.previous_until
        return matches(given, (self.current, self.previous) if has_previous else (self.current,))


def read_caller_secret(
    name: str, current: str, environment: Mapping[str, str], now: datetime, problems: list[str]
) -> CallerSecret:
    """Read NAME_PREVIOUS and its end, NAME_PREVIOUS_UNTIL; append what is wrong to `problems`.

    An end that has passed is right: a process may start again after it.
    """
    previous = environment.get(f"{name}_PREVIOUS", "").strip()
    if any(value and len(value) < MIN_SECRET_CHARACTERS for value in (current, previous)):
        problems.append(f"{name} is shorter than {MIN_SECRET_CHARACTERS} characters")
    if not previous:
        return CallerSecret(current)
    until = read_time(environment.get(f"{name}_PREVIOUS_UNTIL"))
    if until is None or until.tzinfo is None:
        problems.append(
            f"{name}_PREVIOUS_UNTIL is not a time with a zone: give it the end of {name}_PREVIOUS,"
            " for example 2026-03-04T12:00+07:00"
        )
        return CallerSecret(current)
    if until > now + MAX_OVERLAP:
        problems.append(f"{name}_PREVIOUS_UNTIL is more than {MAX_OVERLAP.days} days ahead")
    return CallerSecret(current, previous, until)
