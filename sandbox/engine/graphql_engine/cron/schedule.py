"""Five-field cron expressions in UTC, and ISO times, as the engine reads them."""

import re
from datetime import UTC, datetime

from croniter import CroniterBadDateError, croniter

from graphql_engine.errors import QErr, unexpected

# minute, hour, day of month, month, day of week: croniter alone would accept a sixth field, seconds
FIELDS = 5
RANGE = re.compile(r"(\d+)-(\d+)")
NAMED = {
    "@yearly": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@hourly": "0 * * * *",
}


def read_schedule(text: object) -> str:
    """Return a schedule of five fields; `@daily` becomes `0 0 * * *`.

    Raises QErr `parse-failed` for anything else, `unexpected` for a schedule that never comes due.
    """
    refused = QErr("parse-failed", f"invalid cron schedule: {text}", "$.schedule")
    if not isinstance(text, str) or text != text.lstrip():
        raise refused
    fields = NAMED.get(text, text)
    if len(fields.split()) != FIELDS or any(int(a) > int(b) for a, b in RANGE.findall(fields)):
        raise refused
    try:
        croniter(fields)
    except ValueError as error:
        raise refused from error
    try:
        croniter(fields, datetime.now(UTC)).get_next(datetime)
    except CroniterBadDateError as error:
        raise unexpected("database query error") from error
    return fields


def next_times(schedule: str, after: datetime, count: int) -> list[datetime]:
    ticks = croniter(schedule, after.astimezone(UTC))
    return [ticks.get_next(datetime) for _ in range(count)]


def parse_time(text: object) -> datetime:
    """Parse an ISO time with a zone. Raises QErr `parse-failed`."""
    refused = QErr("parse-failed", f"could not parse date: {text}", "$.schedule_at")
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise refused from error
    if moment.tzinfo is None:
        raise refused
    return moment


def shown_time(moment: datetime) -> str:
    """Format a time for webhook bodies: UTC with a trailing Z."""
    plain = moment.astimezone(UTC).replace(tzinfo=None)
    return plain.isoformat() + "Z"
