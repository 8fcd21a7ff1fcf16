"""The checker of the chaos runs: which ids are lost, duplicated, unexpected, recovered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.chaos.checker import PROBLEMS, Verdict, Verdicts, check

IDS = st.lists(st.sampled_from("abcdefgh"), max_size=12)


def test_each_id_is_named_by_what_happened_to_it() -> None:
    verdict = check("abcde", "abc", ["a", "b", "b", "d", "x"])
    assert verdict == Verdict(
        attempted=5,
        acknowledged=3,
        ok=("a", "d"),
        lost=("c",),
        duplicated=("b",),
        unexpected=("x",),
        recovered=("d",),
    )
    assert not verdict.is_valid
    assert verdict.counts() == {
        "attempted": 5,
        "acknowledged": 3,
        "ok": 2,
        "lost": 1,
        "duplicated": 1,
        "unexpected": 1,
        "recovered": 1,
    }


def test_a_repeated_delivery_is_attempted_and_acknowledged_as_one_id() -> None:
    assert check("aab", "aab", "ab").is_valid


def test_an_id_that_was_never_acknowledged_may_be_missing() -> None:
    assert check("ab", "a", "a").is_valid


def test_an_acknowledged_id_that_was_not_attempted_is_an_error_of_the_run() -> None:
    with pytest.raises(ValueError, match="acknowledged, but not attempted: x, y"):
        check("a", "ayx", "a")


def test_a_problem_is_named_by_effect_and_id() -> None:
    verdicts = Verdicts({"event": check("ab", "ab", "a"), "ticket": check("t", "t", "tt")})
    assert not verdicts.is_valid
    assert verdicts.as_json() == {
        "lost": ["event: b"],
        "duplicated": ["ticket: t"],
        "unexpected": [],
        "effects": {name: verdict.counts() for name, verdict in verdicts.effects.items()},
    }


def test_one_invalid_effect_makes_all_invalid() -> None:
    assert Verdicts({"event": check("a", "a", "a")}).is_valid
    for observed in ("", "aa", "ab"):
        assert not Verdicts({"event": check("a", "a", "a"), "ticket": check("a", "a", observed)}).is_valid


@given(IDS, IDS, IDS)
def test_the_lists_divide_all_ids(attempted: list[str], acknowledged: list[str], observed: list[str]) -> None:
    acknowledged = [id_ for id_ in acknowledged if id_ in attempted]
    verdict = check(attempted, acknowledged, observed)
    lists = [set(verdict.ok), *(set(getattr(verdict, problem)) for problem in PROBLEMS)]
    absent = set(attempted) - set(acknowledged) - set(observed)
    together = set().union(*lists, absent)
    assert together == {*attempted, *observed}
    assert sum(map(len, [*lists, absent])) == len(together), "each id is in one list"
    assert set(verdict.recovered) <= set(verdict.ok)
    assert not set(verdict.recovered) & set(acknowledged)
    assert verdict.is_valid == all(len(ids) == 0 for ids in lists[1:])


@given(IDS)
def test_what_is_observed_once_each_is_valid(ids: list[str]) -> None:
    assert check(ids, ids, set(ids)).is_valid
    assert check(ids, (), ()).is_valid
