"""The period of a report: whole days in Vietnam."""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from leads.domain.body import ICT
from ops.failures import WrongUsage


@dataclass(frozen=True, slots=True)
class Period:
    """From the beginning of `first` to the end of `last`, both days in Vietnam, and not beyond `now`."""

    first: date
    last: date
    now: datetime

    @property
    def since(self) -> datetime:
        return datetime.combine(self.first, time(), ICT)

    @property
    def until(self) -> datetime:
        return min(datetime.combine(self.last + timedelta(days=1), time(), ICT), self.now)


def read_period(week: int | None, first: date | None, last: date | None, now: datetime) -> Period:
    """Return the period that the options name; without any, the last week that is over.

    `week` is the number of an ISO week, the newest that has begun. Raises WrongUsage.
    """
    today = now.astimezone(ICT).date()
    if week is not None and (first or last):
        raise WrongUsage("Give either --week, or --from and --to.")
    if week is not None:
        first = _monday(week, today)
    elif first is None and last is None:
        first = today - timedelta(days=today.weekday() + 7)
    elif first is None:
        raise WrongUsage("Give --from too: the first day of the report.")
    else:
        last = last or today
    last = last or first + timedelta(days=6)
    if first > last:
        raise WrongUsage(f"--from {first} is after --to {last}.")
    if first > today:
        raise WrongUsage(f"{first} has not begun yet in Vietnam. Give an earlier day.")
    return Period(first, last, now)


def _monday(week: int, today: date) -> date:
    """Return the first day of the newest week of that number that has begun. Raises WrongUsage."""
    for year in range(today.isocalendar().year, today.isocalendar().year - 8, -1):
        try:
            monday = date.fromisocalendar(year, week, 1)
        except ValueError:
            continue  # a week 53, which few years have
        if monday <= today:
            return monday
    raise WrongUsage(f"There is no week {week}. Weeks are 1 to 53.")
