"""Records of Pancake that were read one by one, because a list did not show them."""

from dataclasses import dataclass, field
from datetime import datetime

from leads.domain.table_record import TableRecord

SavedLookUp = tuple[str | None, str, bool, str | None]
"""Table, id, whether the record exists, and its `modified_on`; a list in JSON."""


@dataclass(slots=True)
class LookUps:
    """`present` maps the records that exist to their `modified_on`; `absent` holds the others."""

    present: dict[TableRecord, datetime | None] = field(default_factory=dict)
    absent: set[TableRecord] = field(default_factory=set)

    @classmethod
    def load(cls, saved: list[SavedLookUp]) -> "LookUps":
        look_ups = cls()
        for table_name, record_id, exists, text in saved:
            key = TableRecord(table_name, record_id)
            if exists:
                look_ups.present[key] = datetime.fromisoformat(text) if text else None
            else:
                look_ups.absent.add(key)
        return look_ups

    def save(self) -> list[SavedLookUp]:
        found: list[SavedLookUp] = [
            (*key, True, time.isoformat() if time else None) for key, time in self.present.items()
        ]
        return found + [(*key, False, None) for key in self.absent]

    def __contains__(self, key: TableRecord) -> bool:
        return key in self.present or key in self.absent
