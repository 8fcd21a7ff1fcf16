"""When a drill is evidence: fast enough, no lead lost or doubled, and people told in time."""

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from leads.cli.golive.deploy.plan_file import PlanFile
from leads.cli.golive.drill import command
from leads.cli.golive.drill.counting import Ledger, count_records
from leads.cli.golive.drill.sender import Sender, Sent, Webhook
from leads.cli.golive.drill.telling import tell
from leads.cli.golive.drill.tiers import TIERS, Limit
from leads.cli.golive.load import load_criteria

FINE = Ledger(processed=5, lost=[], unacknowledged=[], doubled=[], unfinished=[], unexpected=[])


def site(*words: str) -> Any:
    return SimpleNamespace(
        plan=PlanFile(tell=words), db=SimpleNamespace(info=SimpleNamespace(dbname="diva_staging")),
        journal=SimpleNamespace(commit="0123abc", by="Lan"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "minutes_ago", "is_in_time"),
    [
        (["true"], 0, True), (["true"], 6, False), (["false"], 0, False), (["/no/such/program"], 0, False),
        ([], 0, False),
    ],
)  # fmt: skip
def test_people_are_told_if_the_command_ends_well_and_in_time(
    words: list[str], minutes_ago: int, is_in_time: bool
) -> None:
    assert tell(site(*words), 1, time.monotonic() - minutes_ago * 60).is_in_time is is_in_time


class Traffic:
    """Stands for the sender: nothing is sent."""

    prefix = "golive-drill-"

    def __init__(self, per_second: float) -> None:
        self.sent = Sent(ids=["a"] * 101, first_at=1000, last_at=1000 + 100 / per_second)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def stop(self) -> None: ...


LIMIT = {1: (lambda _: None, lambda _: None, Limit("<", 5.0))}
NO_TIME = {1: (lambda _: None, lambda _: None, Limit("<", 0.0))}


@pytest.mark.parametrize(
    ("told_by", "tiers", "ledger", "per_second", "is_ok"),
    [
        ("true", LIMIT, FINE, 20, True),
        ("", LIMIT, FINE, 20, False),
        ("false", LIMIT, FINE, 20, False),
        ("true", NO_TIME, FINE, 20, False),
        *(
            ("true", LIMIT, replace(FINE, **{name: ["a"]}), 20, False)  # type: ignore[arg-type]
            for name in ("lost", "unacknowledged", "doubled", "unfinished", "unexpected")
        ),
        ("true", LIMIT, FINE, 19.01, True),
        ("true", LIMIT, FINE, 18.9, False),
    ],
)
def test_each_condition_alone_keeps_a_drill_from_being_evidence(
    monkeypatch: pytest.MonkeyPatch, told_by: str, tiers: Any, ledger: Ledger, per_second: float, is_ok: bool
) -> None:
    """It has to keep 95 % of its rate, 20 a second."""
    monkeypatch.setattr(command, "TIERS", tiers)
    monkeypatch.setattr(command, "wait_until_final", lambda *_: ledger)
    drill: Any = SimpleNamespace(site=site(*filter(None, [told_by])), sender=Traffic(per_second))
    result = command._run_drill(drill, 1, (20, 0, 0))
    assert result["ok"] is is_ok
    assert result["told"]["in_time"] is (told_by == "true")
    assert (result["rate"], result["achieved_per_second"]) == (20, per_second)


@pytest.mark.parametrize(
    ("tier", "minutes", "is_kept"),
    [
        (1, 4.999, True),
        (1, 5.0, False),
        (2, 15.0, True),
        (2, 15.001, False),
        (3, 30.0, True),
        (3, 30.1, False),
    ],
)
def test_tier_1_takes_less_than_5_minutes_the_others_at_most_15_and_30(
    tier: int, minutes: float, is_kept: bool
) -> None:
    limit = TIERS[tier][2]
    assert limit.is_kept_by(minutes) is is_kept
    (criterion,) = [each for each in load_criteria() if each.id == f"G-8-tier{tier}"]
    assert (criterion.operator, criterion.target) == (limit.operator, limit.minutes)


def test_the_rate_is_that_of_the_first_to_the_last_lead() -> None:
    """At port 9 no server listens: every post fails at once."""
    begun = time.monotonic()
    with Sender(Webhook("http://127.0.0.1:9/", {}), "golive-drill-", 100, "-1", 1) as sender:
        time.sleep(0.2)
    sent = sender.sent
    assert begun <= sent.first_at < sent.last_at <= time.monotonic()
    assert sent.answers == {"no answer": len(sent.ids)}
    assert Sent(ids=["a"], first_at=1, last_at=1).per_second == 0


@pytest.mark.parametrize(
    ("accepted", "stored", "lost", "unacknowledged"),
    [
        ({"a", "b"}, ["a", "b"], [], []),
        ({"a", "b"}, ["a"], ["b"], []),
        ({"a"}, ["a", "b"], [], []),
        ({"a"}, ["a"], [], ["b"]),
        (set(), [], [], ["a", "b"]),
    ],
    ids=["all", "lost", "stored without an answer", "refused", "the edge is down"],
)
def test_a_lead_that_is_not_stored_counts_whatever_it_was_answered(
    accepted: set[str], stored: list[str], lost: list[str], unacknowledged: list[str]
) -> None:
    rows = [{"record_id": name, "events": 1, "is_processed": True, "tickets": 1} for name in stored]
    answer = SimpleNamespace(fetchall=lambda: rows)
    counted: Any = SimpleNamespace(db=SimpleNamespace(execute=lambda *_: answer))
    ledger = count_records(counted, "golive-drill-", Sent(ids=["a", "b"], accepted=accepted))
    assert (ledger.lost, ledger.unacknowledged, ledger.processed) == (lost, unacknowledged, len(stored))
    assert ledger.is_fine is (len(stored) == 2)
