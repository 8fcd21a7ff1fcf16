"""The lines that tell a history to people: short names for rows, one line for each step."""

from collections.abc import Sequence

from tests.support.histories.product import Rows, Sent
from tests.support.histories.state import Event
from tests.support.histories.vocabulary import STAFF

PREFIXES = {"account": "A", "ticket": "T", "pancake_webhook_event": "E"}


class Story:
    """Lines of a history. Rows are called A1 (account), T1 (ticket), E1 (event), staff S1, M1, D1."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, str] = dict(STAFF)
        self._counts = dict.fromkeys(PREFIXES, 0)

    def add(self, line: str) -> None:
        self.lines.append(line)

    def name(self, key: object) -> str:
        return self.names.get(str(key), str(key))

    def order(self, key: str) -> int:
        """Return the number in a row's name."""
        return int(self.names[key][1:])

    def name_rows(self, rows: Rows) -> None:
        """Name rows that appeared."""
        for table in ("account", "ticket"):
            for row in sorted(rows[table].values(), key=lambda row: str(row["created_at"])):
                self._name(table, row["id"])

    def name_event(self, event: int, status: str) -> None:
        """Name the event of the delivery in the last line."""
        self._name("pancake_webhook_event", str(event))
        self.lines[-1] = f"{self.name(event)}: {self.lines[-1]} -> {status}"

    def add_result(self, result: str, event: Event, sent: Sequence[Sent]) -> None:
        shown = ", ".join(map(self._notification, sent)) or "none"
        rows = f"phone {event.phone}, account {self.name(event.account)}, ticket {self.name(event.ticket)}"
        self.add(f"    {result}: {rows}; told: {shown}")

    def failure(self, wrong: Sequence[str]) -> str:
        """Return the history and what is wrong, with short names in place of ids."""
        steps = [line if line.startswith(" ") else f"- {line}" for line in self.lines]
        text = "\n".join(["The history:", *steps, "", "What is wrong:", *wrong])
        for key, name in self.names.items():
            text = text.replace(key, name) if "-" in key else text.replace(f" {key} ", f" {name} ")
        return text

    def _name(self, table: str, key: str) -> None:
        if key not in self.names:
            self._counts[table] += 1
            self.names[key] = f"{PREFIXES[table]}{self._counts[table]}"

    def _notification(self, sent: Sent) -> str:
        names = "+".join(sorted(map(self.name, sent.recipients)))
        return f"{sent.template.removeprefix('noti_pancake_')} to {names}"
