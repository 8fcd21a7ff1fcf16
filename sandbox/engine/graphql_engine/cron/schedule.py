"""Five-field cron expressions in UTC, and ISO times, as the engine reads them."""

from datetime import UTC, datetime

from croniter import croniter

from graphql_engine.errors import QErr

# minute, hour, day of month, month, day of week: croniter alone would accept a sixth field, seconds
FIELDS = 5


def check_schedule(text: object) -> None:
    """Raise QErr `parse-failed` unless the text is a five-field cron expression."""
    if not isinstance(text, str) or len(text.split()) != FIELDS or not croniter.is_valid(text):
        raise QErr("parse-failed", f"invalid cron schedule: {text}", "$.schedule")


def next_times(schedule: str, after: datetime, count: int) -> list[datetime]:
    ticks = croniter(schedule, after.astimezone(UTC))
    return [ticks.get_next(datetime) for _ in range(count)]


def parse_time(text: object) -> datetime:
    """Parse an ISO time; without a zone it is UTC. Raises QErr `parse-failed`."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise QErr("parse-failed", f"could not parse the time: {text}", "$.schedule_at") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def shown_time(moment: datetime) -> str:
    """Format a time for webhook bodies: UTC with a trailing Z."""
    plain = moment.astimezone(UTC).replace(tzinfo=None)
    return plain.isoformat() + "Z"
