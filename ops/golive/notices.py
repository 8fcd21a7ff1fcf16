"""What a gate says in red although it may be open: for those who decide on it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise

from leads.domain.body import ICT
from ops.golive.judgement import Judgement, Notice
from ops.golive.records import Kind, Record, Records

SHOWN = 12
"""So many digits of a hash are shown."""
MODIFIED = "modified"
GATE = "gate-"
"""The name of the evidence begins so that keeps how the gate before was when a wave began."""


def notices_of(
    judgements: Sequence[Judgement], records: Sequence[Record], commit: str, signers: str
) -> tuple[Notice, ...]:
    """Return what stands in red.

    `signers` is the SHA-256 of the allowed signers, `commit` what is installed.
    """
    found = [*notices_of_criteria(judgements, records, commit), *_of_signers(records, signers)]
    if commit.startswith(MODIFIED):
        found.append(Notice("phần mềm đang cài đã bị sửa", "the installed program was modified"))
    return tuple(found)


def unset_notices(names: Sequence[str]) -> tuple[Notice, ...]:
    """Name all variables that are not set at once."""
    listed = ", ".join(names)
    vi, en = f"chưa cấu hình: {listed}", f"not set, so what they answer is unknown: {listed}"
    return (Notice(vi, en),) if names else ()


def earlier_notices(records: Sequence[Record], files: Records) -> Iterator[Notice]:
    """Yield what stood in red when the waves before began, each with its gate. Raises RecordsError."""
    for evidence in (each for record in records if record.kind is Kind.BEGIN for each in record.evidence):
        if evidence.name.startswith(GATE):
            gate = json.loads(files.read_evidence(evidence))
            for each in gate.get("notices", ()):
                if not each.get("gate"):
                    yield Notice(each["vi"], each["en"], gate["subject"])


def notices_of_criteria(
    judgements: Sequence[Judgement], records: Sequence[Record], commit: str
) -> tuple[Notice, ...]:
    """Return what is to be said of criteria: each notice once, with all their ids."""
    ids: dict[Notice, list[str]] = {}
    for judgement in judgements:
        later = _later_commits(judgement, records, commit)
        for notice in (*_exemption(judgement), *judgement.measurement.notices, *later):
            ids.setdefault(notice, []).append(judgement.criterion.id)
    of = {notice: ", ".join(names) for notice, names in ids.items()}
    return tuple(Notice(f"{names}: {vi}", f"{names}: {en}") for (vi, en, _), names in of.items())


def _exemption(judgement: Judgement) -> Iterable[Notice]:
    record = judgement.exemption
    if record is None or record.statement.until is None:
        return ()
    last = record.statement.until.astimezone(ICT) - timedelta(seconds=1)
    day, reason = f"{last:%d/%m/%Y}", record.statement.reason
    is_waiver = record.kind is Kind.WAIVE
    return [Notice(
        f"{'được miễn' if is_waiver else 'không áp dụng'} đến {day} theo {record.stated_by}: {reason}",
        f"{'waived' if is_waiver else 'not applicable'} until {day} by {record.stated_by}: {reason}",
    )]  # fmt: skip


def _later_commits(judgement: Judgement, records: Sequence[Record], commit: str) -> Iterable[Notice]:
    """Name what was installed after the commit on which evidence was made."""
    made_on = judgement.measurement.commit
    if not made_on or not judgement.measurement.installed:
        return ()
    installed = dict.fromkeys([*(each.statement.commit for each in records), commit])
    later = [each[:SHOWN] for each in installed if each]
    later = later[later.index(made_on[:SHOWN]) + 1 :] if made_on[:SHOWN] in later else []
    names = ", ".join(later)
    text = f"on {made_on[:SHOWN]}; installed since: {names}"
    return [Notice(f"chạy trên {made_on[:SHOWN]}; sau đó đã cài {names}", text)] if later else ()


def _of_signers(records: Sequence[Record], signers: str) -> Iterator[Notice]:
    """Name each change of the allowed signers since a wave began."""
    known = [(each.of, each.signers) for each in records if each.kind is Kind.BEGIN] + [("", signers)]
    for (wave, before), (_, after) in pairwise(known):
        if before != after:
            digests = f"{before[:SHOWN] or '–'} → {after[:SHOWN] or '–'}"
            yield Notice(
                f"danh sách người được ký đã đổi từ khi bắt đầu {wave}: {digests}",
                f"the allowed signers were changed after {wave} began: {digests}",
            )
