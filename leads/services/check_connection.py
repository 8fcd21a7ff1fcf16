"""What check_connection notifies the admins of besides the health of the connections.

That is settings that cannot be read, and connections that an operator disabled or enabled.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from leads.adapters.database import Database, Statement
from leads.adapters.logs import LOGGER
from leads.services.cron_work import AdminNotice, CronRun


@dataclass(frozen=True, slots=True)
class SettingProblems:
    """The row of check_connection/load_settings: a text for each setting that has another value than stored.

    The texts quote stored values, so only the admins get them; logs and answers have the names.
    """

    problems: list[str]

    @property
    def names(self) -> list[str]:
        return [problem.split(" ", 1)[0] for problem in self.problems]

    @property
    def digest(self) -> str | None:
        """A digest that changes when a stored value changes; None without a problem."""
        return sha256("\n".join(self.problems).encode()).hexdigest() if self.problems else None

    def report(self) -> dict[str, object]:
        return {"unreadable": self.names, "digest": self.digest}

    def notices(self, run: CronRun, digest_before: str | None) -> Sequence[AdminNotice]:
        """Return the notice for the admins, and log a line, unless the previous run found the same."""
        if not self.problems or self.digest == digest_before:
            return ()
        LOGGER.warning("settings unreadable", extra={"fields": {"settings": self.names}})
        key = f"settings_unreadable:{run.scheduled_time.isoformat()}"
        return (AdminNotice(key, "settings_unreadable", "; ".join(self.problems)),)


async def load_setting_problems(db: Database) -> SettingProblems:
    (found,) = await db.fetch_all("check_connection/load_settings", {}, SettingProblems)
    return found


@dataclass(frozen=True, slots=True)
class OperatorChange:
    """A row of check_connection/list_status_changes: an operator disabled or enabled a connection."""

    id: int
    connection_id: str
    name: str
    before: str
    after: str
    reason: str | None

    def notice(self) -> AdminNotice:
        reason = f" ({self.reason})" if self.reason else ""
        return AdminNotice(
            key=f"connection_status:{self.connection_id}:{self.id}",
            reason=f"connection_{self.after}",
            detail=f"{self.before} → {self.after}{reason}",
            facts={"connection": self.name},
        )


async def load_operator_changes(db: Database, run: CronRun) -> list[OperatorChange]:
    """Load the changes that no admin was notified of."""
    return await db.fetch_all("check_connection/list_status_changes", {"now": run.now}, OperatorChange)


def mark_operator_changes(run: CronRun, changes: Sequence[OperatorChange]) -> Sequence[Statement]:
    """Return the statement that has to be committed with the notices of these changes."""
    params = {"ids": [change.id for change in changes], "now": run.now}
    return (("check_connection/mark_status_changes", params),) if changes else ()
