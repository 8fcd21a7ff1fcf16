"""Work that overlaps in the edge. The tests widen the moment between two steps, which is too short to hit."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.edge.fakes import ACCEPTED
from tests.support.edge.harness import BUDGET_MAX_FAILURES, EdgeHarness
from tests.support.edge.http_server import Answer
from tests.support.waiting import eventually

SENDERS = 12


def start_edited(harness: EdgeHarness, module: str, *edits: tuple[str, str]) -> EdgeHarness:
    """Start a prepared edge with another program; return it once it has a policy."""
    for text, replacement in edits:
        harness.edge.edit(module, text, replacement)
    harness.edge.bring_up()
    return harness


def write_slowly(harness: EdgeHarness, seconds: float) -> EdgeHarness:
    """Start a prepared edge whose files keep the name of a partial file for so long."""
    declared, renamed = "int fsync(int fd);\n", "    if C.rename(temporary, final) ~= 0 then\n"
    slow = f"    C.usleep({seconds * 1e6:.0f})\n"
    return start_edited(
        harness, "files.lua", (declared, f"{declared}int usleep(unsigned microseconds);\n"),
        (renamed, slow + renamed),
    )  # fmt: skip


def post_at_once(harness: EdgeHarness, each: int = 1) -> list[str]:
    """Post deliveries from SENDERS threads, `each` one after the other; return their outcomes."""
    with ThreadPoolExecutor(SENDERS) as threads:
        groups = threads.map(lambda sender: harness.post_many([b"%d" % sender] * each), range(SENDERS))
    return [outcome for group in groups for outcome in group]


def test_of_many_that_see_a_free_lease_one_takes_it(start_harness: Callable[..., EdgeHarness]) -> None:
    """The probe of a path that failed: the others use the other path."""
    seen = "    -- Several workers may see the same free_at."
    harness = start_harness(started=False, EDGE_SKIP_SECONDS="0.3", EDGE_POLICY_SECONDS="60")
    start_edited(harness, "claim.lua", (seen, f"    ngx.sleep(0.2)\n{seen}"))
    harness.hasura.override = Answer(503)
    assert post_at_once(harness) == ["received"] * SENDERS
    time.sleep(0.4)  # until the pause is over: a delivery that looks for its end would be the probe
    requests = len(harness.hasura.requests)
    assert post_at_once(harness) == ["received"] * SENDERS
    assert len(harness.hasura.requests) - requests == 1


def test_failures_at_once_do_not_exceed_the_budget(start_harness: Callable[..., EdgeHarness]) -> None:
    """All see that one failure is left: it is chosen once, or not at all."""
    harness = start_harness(started=False, EDGE_SPOOL_MAX_FILES="1")
    counted = "    -- Count first and take it back if that was too much"
    start_edited(harness, "budget.lua", (counted, f"    ngx.sleep(0.2)\n{counted}"))
    harness.stop_upstreams()
    assert harness.post_many([b"1"]) == ["spooled"], "others are failures"
    for _ in range((BUDGET_MAX_FAILURES - 1) // SENDERS):
        post_at_once(harness)
    harness.flood(BUDGET_MAX_FAILURES - 1 - int(harness.budget_used()))
    assert harness.budget_used() == BUDGET_MAX_FAILURES - 1
    assert post_at_once(harness).count("spool_full") <= 1
    assert harness.budget_used() <= BUDGET_MAX_FAILURES


LISTED = "    local names, err = files.list(settings.folder_paths[folder], size_in)\n"
STARTED = '    dict:incr(folder .. ".puts", 1, 0)\n'
SLOW = {
    "slow writes": (STARTED, f"{STARTED}    ngx.sleep(0.6)\n"),
    "slow listings": (LISTED, f'{LISTED}    if ngx.get_phase() == "timer" then ngx.sleep(0.3) end\n'),
}


@pytest.mark.parametrize("slow", SLOW)
def test_the_spool_never_holds_more_than_its_limit(
    start_harness: Callable[..., EdgeHarness], slow: str
) -> None:
    """Its counts are corrected from listings, which do not show what is being written."""
    harness = start_harness(started=False, EDGE_SPOOL_MAX_FILES="2")
    start_edited(harness, "spool.lua", SLOW[slow])
    harness.stop_upstreams()
    ends_at, outcomes = time.monotonic() + 3, []
    while time.monotonic() < ends_at:
        outcomes += post_at_once(harness)
    assert outcomes.count("spooled") == len(harness.edge.held()) == 2


def test_a_file_that_is_being_written_is_not_swept(start_harness: Callable[..., EdgeHarness]) -> None:
    harness = start_harness(started=False)
    harness.edge.edit("start.lua", "TIDY_INTERVAL_SECONDS = 60", "TIDY_INTERVAL_SECONDS = 1")
    write_slowly(harness, 0.5)
    harness.stop_upstreams()
    assert harness.post_many([b"%d" % number for number in range(10)]) == ["spooled"] * 10


def test_the_policy_is_written_by_one_at_a_time(start_harness: Callable[..., EdgeHarness]) -> None:
    """It is fetched many times while it is written. Two writers would share one partial file."""
    harness = write_slowly(start_harness(started=False), 0.8)
    eventually((harness.edge.state / "policy.sealed").exists)
    for _ in range(8):
        harness.wait_for_new_policy()
    assert harness.metric('pancake_edge_errors_total{source="policy"}') == 0


def test_a_delivery_is_handed_over_once_however_long_it_takes(harness: EdgeHarness) -> None:
    """Meanwhile the other threads of the drain list the folder."""
    harness.stop_upstreams()
    assert harness.post_many([b"1"]) == ["spooled"]
    harness.hasura.override = Answer(200, ACCEPTED, delay_seconds=0.6)
    harness.start_upstreams()
    eventually(lambda: not harness.edge.held())
    assert harness.hasura.delivery_requests == 1
    assert harness.handlers.delivery_requests == 0
