"""Mutations: with one guard of the edge removed, the test that proves the guard fails."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.edge.harness import MUTATION_VARIABLE

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Mutation:
    """Replacements in a Lua module, and the test (`file::name` in this folder) that must fail with them."""

    module: str
    replacements: dict[str, str]
    proof: str


MUTATIONS = {
    "the budget is not checked": Mutation(
        "budget.lua",
        {
            "if M.used(connection_id) >= settings.budget_max_failures then": "if false then",
            "if M.used(connection_id) <= settings.budget_max_failures and": "if",
        },
        "test_limits.py::test_requests_over_the_rate_get_429_until_the_budget_is_spent_then_they_are_spooled",
    ),
    "any method spends the budget": Mutation(
        "delivery.lua",
        {'ngx.req.get_method() == "POST" and verify_request': "verify_request"},
        "test_budget_senders.py::test_a_method_that_pancake_does_not_send_spends_nothing",
    ),
    "a delivery without the proof spends the budget": Mutation(
        "delivery.lua",
        {"and verify_request(connection) == nil": ""},
        "test_budget_senders.py::test_a_delivery_broken_off_never_counts_where_a_signature_is_demanded",
    ),
    "failures count for one minute": Mutation(
        "settings.lua",
        {"budget_window_minutes = 30": "budget_window_minutes = 1"},
        "test_budget.py::test_a_failure_counts_for_thirty_minutes",
    ),
    "any number of deliveries probes at once": Mutation(
        "upstream.lua",
        {'and claim.take(dict, path.name .. ".probe", PROBE_LEASE_SECONDS)': ""},
        "test_forward.py::test_only_one_delivery_at_a_time_probes_a_path_that_failed",
    ),
    "the drain has no rate": Mutation(
        "drain.lua",
        {"THREADS / settings.max_drained_per_second": "0"},
        "test_drain.py::test_the_drain_keeps_to_its_rate_while_live_traffic_goes_on",
    ),
    "every signature is valid": Mutation(
        "verify.lua",
        {"found = crypto.equal(candidate, given) or found": "found = true"},
        "test_verify.py::test_signature_by_timestamp_by_secret_by_mode",
    ),
    "every timestamp is in the window": Mutation(
        "verify.lua",
        {"<= WINDOW_SECONDS": "<= math.huge"},
        "test_verify.py::test_signature_by_timestamp_by_secret_by_mode",
    ),
    "a token is called unknown without a fetch": Mutation(
        "policy.lua",
        {"while not M.confirmed_after(asked_at) do": "while false do"},
        "test_policy.py::test_unknown_tokens_wait_in_their_own_folder_while_the_handlers_are_down",
    ),
    "refusals by failing paths count": Mutation(
        "drain.lua",
        {"not retry.last_failed_at or (upstream.succeeded_at() or 0) > retry.last_failed_at": "true"},
        "test_drain.py::test_refusals_by_failing_paths_never_quarantine_a_delivery",
    ),
    "the file is not written": Mutation(
        "spool.lua",
        {"ok, err = write(folder, name, sealed)": "ok, err = true"},
        "test_spool.py::test_deliveries_of_an_outage_are_stored_and_drained_oldest_first",
    ),
    "nothing is encrypted": Mutation(
        "crypto.lua",
        {
            "assert(C.EVP_EncryptUpdate(ctx, out, length, text, #text) == 1)": (
                "ffi.copy(out, text, #text) length[0] = #text"
            )
        },
        "test_spool.py::test_files_of_deliveries_and_policy_are_encrypted",
    ),
}


@pytest.mark.usefixtures("start_harness")
@pytest.mark.parametrize("name", MUTATIONS)
def test_without_its_guard_a_proof_fails(name: str) -> None:
    """Run the proof in a separate pytest. One of its assertions must fail."""
    mutation = MUTATIONS[name]
    arguments = ["-q", "-p", "no:cacheprovider", "--tb=short", f"tests/edge/{mutation.proof}"]
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
        env={
            **os.environ,
            "COLUMNS": "300",  # pytest cuts the reason off at the width of the terminal
            MUTATION_VARIABLE: json.dumps([mutation.module, mutation.replacements]),
        },
    )  # fmt: skip
    failures = re.findall(r"^FAILED \S+ - (assert|AssertionError)\b", finished.stdout, re.MULTILINE)
    assert (finished.returncode, len(failures)) == (1, 1), finished.stdout
