"""Each guard is needed: with one of them taken out, the proof that rests on it fails."""

import inspect
from collections.abc import Callable

import pytest

from tests.edge import test_forward, test_limits, test_policy, test_spool, test_verify
from tests.edge.conftest import Stage

MUTATIONS: dict[str, tuple[str, dict[str, str], Callable[..., None]]] = {
    "the budget is not asked": (
        "budget.lua",
        {
            "if M.used(connection_id) >= settings.budget_max_failures then": "if false then",
            "if M.used(connection_id) <= settings.budget_max_failures and": "if",
        },
        test_limits.test_the_excess_is_429_until_half_of_the_budget_is_spent_and_then_spooled,
    ),
    "failures are forgotten after a minute": (
        "settings.lua",
        {"budget_window_minutes = 30": "budget_window_minutes = 1"},
        test_limits.test_a_failure_counts_for_thirty_minutes,
    ),
    "any number of deliveries probes at once": (
        "upstream.lua",
        {'and claim.take(dict, path.name .. ".probe", PROBE_LEASE_SECONDS)': ""},
        test_forward.test_only_one_delivery_at_a_time_probes_a_path_that_failed,
    ),
    "the drain knows no rate": (
        "drain.lua",
        {"THREADS / settings.max_drained_per_second": "0"},
        test_spool.test_the_drain_keeps_to_its_rate_while_live_traffic_goes_on,
    ),
    "every signature is as good as another": (
        "verify.lua",
        {"found = crypto.equal(candidate, given) or found": "found = true"},
        test_verify.test_signature_by_timestamp_by_secret_by_mode,
    ),
    "the window is not looked at": (
        "verify.lua",
        {"<= WINDOW_SECONDS": "<= math.huge"},
        test_verify.test_signature_by_timestamp_by_secret_by_mode,
    ),
    "unknown is said without asking": (
        "policy.lua",
        {"while not M.confirmed_after(asked_at) do": "while false do"},
        test_policy.test_unknown_tokens_wait_in_a_spool_of_their_own_while_nobody_can_be_asked,
    ),
    "refusals by ill paths count": (
        "drain.lua",
        {"not retry.last_failed_at or (upstream.succeeded_at() or 0) > retry.last_failed_at": "true"},
        test_spool.test_refusals_while_the_paths_are_ill_never_set_anything_aside,
    ),
    "the file is not written": (
        "spool.lua",
        {"ok, err = write(folder, name, sealed)": "ok, err = true"},
        test_spool.test_with_everything_down_deliveries_are_kept_and_drained_oldest_first,
    ),
    "nothing is sealed": (
        "crypto.lua",
        {
            "assert(C.EVP_EncryptUpdate(ctx, out, length, text, #text) == 1)": (
                "ffi.copy(out, text, #text) length[0] = #text"
            )
        },
        test_spool.test_nothing_of_a_delivery_lies_readable_on_disk,
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_without_this_guard_its_proof_fails(nginx: Callable[..., Stage], name: str) -> None:
    """The proof passes on the edge as it is; here it must not."""
    module, replacements, proof = MUTATIONS[name]

    def mutant(**environment: str) -> Stage:
        stage = nginx(started=False, **environment)
        for guard, instead in replacements.items():
            stage.edge.edit(module, guard, instead)
        stage.edge.bring_up()
        return stage

    starts_its_own = "nginx" in inspect.signature(proof).parameters
    with pytest.raises(AssertionError):
        proof(mutant if starts_its_own else mutant())
