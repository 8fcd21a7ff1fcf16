"""Modules of a few lines: waits, kept bodies, hosts, schedules of crons, states, shares, words for errors."""

import json
import time
from datetime import UTC, datetime, timedelta
from itertools import product
from math import log

import httpx
import psycopg
import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from leads.domain.event_states import MAX_ATTEMPTS, delay_after
from leads.domain.health import Signs, judge
from leads.domain.hosts import DEFAULT_HOSTS, host_of, is_clear_text, is_private, read_hosts
from leads.domain.lead import read_lead
from leads.domain.listing import LookUps, TableRecord
from leads.services.cron_runs import CRONS
from ops.checks.leads import read_expressions
from ops.cron_schedule import Schedule
from ops.daily.connection import EXAMPLE
from ops.failures import connection_reason, file_reason
from ops.golive.judgement import is_shown_below, needed_to_show, wilson_interval
from proofs.fuzz import read_corpus
from proofs.fuzz.check import check_body
from tests.support.settings import BASE_URLS, NOT_BASE_URLS

# --- event_states: a failed event is tried again after 30 s, 2 min, 10 min, 1 h, each ±20 %, then never

WAIT_SECONDS = {1: 30, 2: 120, 3: 600, 4: 3600}


@given(st.floats(-1, 1))
def test_the_wait_after_each_attempt_and_the_fifth_is_the_last(jitter: float) -> None:
    for attempts, seconds in {0: 30, **WAIT_SECONDS}.items():
        assert delay_after(attempts, 0.0) == timedelta(seconds=seconds)
        wait = delay_after(attempts, jitter)
        assert wait is not None
        assert 0.8 * seconds - 1e-6 <= wait.total_seconds() <= 1.2 * seconds + 1e-6
    assert MAX_ATTEMPTS == 5
    assert [delay_after(attempts, jitter) for attempts in (5, 6, 100)] == [None] * 3


# --- fields: NFC sorts a run of marks in quadratic time


def test_a_body_full_of_marks_takes_little_time() -> None:
    """It would keep a process of the handlers for a minute, with all that others ask of it."""
    marks = "a" + "\u0315" * 20_000 + "\u0300" * 20_000
    record = {"id": "1", "name": marks, "full_address": marks, "pancake_tags": [marks] * 3}
    before = time.process_time()
    lead = read_lead(record)
    assert time.process_time() - before < 3
    assert (len(str(lead.values["name"])), lead.cut_fields) == (500, ("address", "name", "tags"))


# --- bodies: what scripts/fuzz kept, because it reached code that the others do not


def test_each_body_that_fuzzing_kept_is_read_or_refused() -> None:
    bodies = read_corpus("body")
    assert len(bodies) > 200
    for body in bodies:
        check_body(body)


# --- base_url; tests/hasura/test_migrations.py has the same of the database


def test_the_host_of_a_base_url_has_scheme_and_port_and_others_have_none(subtests: pytest.Subtests) -> None:
    for url, host in (BASE_URLS | dict.fromkeys(NOT_BASE_URLS)).items():
        with subtests.test(url):
            assert host_of(url) == host
    assert host_of(EXAMPLE) in DEFAULT_HOSTS


def test_what_is_no_host_is_refused(subtests: pytest.Subtests) -> None:
    for entry in ("a/b", "https://a/", "a:b", "ftp://a", "*", "*.pancake.vn", "A", "a b", "a@b"):
        with subtests.test(entry), pytest.raises(ValueError, match="is not a host"):
            read_hosts(["crm.pancake.vn", entry])


# --- cron_schedule


NOW = datetime(2026, 5, 14, 9, 7, 30, tzinfo=UTC)


def at(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(f"2026-05-{text}:00+00:00")


def test_ticks_are_those_of_croniter(subtests: pytest.Subtests) -> None:
    assert set(read_expressions()) == set(CRONS)
    for expression in {*read_expressions().values(), "7-59/13 1,5 * 5 *", "0 3 * * 7", "5 0 14-16 * *"}:
        schedule = Schedule.parse(expression)
        with subtests.test(expression):
            for minutes in range(0, 3000, 37):
                time = NOW + timedelta(minutes=minutes)
                expected = croniter(expression, time).get_next(datetime)
                if expected - time <= timedelta(days=8):
                    assert schedule.next_after(time) == expected


def test_what_is_no_schedule_is_refused(subtests: pytest.Subtests) -> None:
    for expression in ("* * * *", "60 * * * *", "*/0 * * * *", "5-1 * * * *", "a * * * *", "0 0 1 * 1"):
        with subtests.test(expression), pytest.raises(ValueError, match=r"."):
            Schedule.parse(expression)
    with pytest.raises(ValueError, match="eight days"):
        Schedule.parse("0 0 1 1 *").next_after(NOW)


def test_a_cron_is_late_after_two_failed_ticks_or_an_hour(subtests: pytest.Subtests) -> None:
    for expression, succeeded, late_since in (
        ("*/5 * * * *", "14T09:05", None),
        ("*/5 * * * *", "14T08:55", None),
        ("*/5 * * * *", "14T08:50", "14T08:55"),
        ("* * * * *", "14T09:04", None),
        ("* * * * *", "14T09:03", "14T09:04"),
        ("*/15 * * * *", "14T08:30", None),
        ("*/15 * * * *", "14T08:15", "14T08:30"),
        ("0 19 * * *", "13T19:00", None),
        ("0 19 * * *", "12T19:00", "13T19:00"),
        ("30 8 * * *", "13T08:30", None),
        ("5 8 * * *", "13T08:05", "14T08:05"),
        ("0 19 * * *", None, "13T19:00"),
    ):
        with subtests.test(expression=expression, succeeded=succeeded):
            found = Schedule.parse(expression).overdue_since(at(succeeded), NOW)
            assert found == at(late_since)


# --- health: the status of a connection from its two channels


CHECKED_AT = datetime(2026, 5, 14, 2, 0, tzinfo=UTC)


def minutes(number: float) -> datetime:
    return CHECKED_AT - timedelta(minutes=number)


@pytest.mark.parametrize("before", ["active", "silent", "suspended", "outage", "key_invalid"])
def test_a_working_api_is_active_even_without_webhooks_and_a_rejected_key_is_reported_at_once(
    before: str,
) -> None:
    for last_webhook, missed, since in (
        (minutes(600), 0, None), (None, 0, None), (None, 0, minutes(90)), (None, 12, None),
    ):  # fmt: skip
        assert judge(before, CHECKED_AT, Signs("alive", 0, last_webhook, missed, since)) == "active"
    assert judge(before, CHECKED_AT, Signs("rejected", 0, minutes(1), 0, None)) == "key_invalid"


def test_records_found_by_polling_mean_silent_then_suspended(subtests: pytest.Subtests) -> None:
    for missed, since, expected in (
        (1, 0, "silent"), (9, 600, "silent"), (10, 29.9, "silent"), (10, 30, "suspended"),
        (500, 31, "suspended"),
    ):  # fmt: skip
        with subtests.test(missed=missed, since=since):
            signs = Signs("alive", 0, minutes(700), missed, minutes(since))
            assert judge("active", CHECKED_AT, signs) == expected


def test_a_failing_api_is_an_outage_only_with_a_silent_webhook_for_two_checks(
    subtests: pytest.Subtests,
) -> None:
    for before, failed, last_webhook, expected in (
        ("active", 1, minutes(60), "active"),
        ("active", 2, minutes(60), "outage"),
        ("active", 2, None, "outage"),
        ("silent", 2, minutes(60), "outage"),
        ("active", 5, minutes(9), "active"),
        ("outage", 5, minutes(1), "active"),
        ("suspended", 1, minutes(60), "suspended"),
        ("key_invalid", 5, minutes(1), "key_invalid"),
    ):
        with subtests.test(before=before, failed=failed):
            signs = Signs("unavailable", failed, last_webhook, 0, None)
            assert judge(before, CHECKED_AT, signs) == expected, (before, failed, last_webhook)


# --- private_hosts


def test_hosts_of_a_private_network(subtests: pytest.Subtests) -> None:
    private = (
        "127.0.0.1", "127.9.9.9", "::1", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.1.1", "fd00::1", "fe80::1%eth0", "::ffff:10.0.0.1", "localhost", "hasura", "db.internal",
        "Hasura.Diva.SVC", "hasura.diva.svc.cluster.local", "printer.local.", "box.home.arpa",
    )  # fmt: skip
    for host in private:
        with subtests.test(host):
            address = f"[{host.partition('%')[0]}]" if ":" in host else host
            assert is_private(host)
            assert not is_clear_text(f"http://{address}:8080/v1/graphql")
    public = (
        "", "8.8.8.8", "172.32.0.1", "100.64.0.1", "192.169.0.1", "2001:db8::1", "::ffff:8.8.8.8", "diva.vn",
        "10.example.com", "internal.example.com", "127.0.0.1.example.com", "0x7f.1", "a:b",
    )  # fmt: skip
    for host in public:
        with subtests.test(host):
            assert not is_private(host)


def test_clear_text_is_http_to_a_public_host(subtests: pytest.Subtests) -> None:
    assert not is_clear_text("https://diva.vn")
    for url in ("http://diva.vn", "HTTP://diva.vn", "ftp://diva.vn", "http://10.0.0.1@diva.vn/",
                "http://[broken", "//"):  # fmt: skip
        with subtests.test(url=url):
            assert is_clear_text(url)


# --- proportion: Wilson's interval, and whether a count shows that a limit is met


def test_the_interval_is_that_of_tables(subtests: pytest.Subtests) -> None:
    """The values of R's binom.confint(…, methods = "wilson")."""
    for successes, total, low, high in (
        (0, 10, 0.0, 0.2775), (8, 10, 0.4902, 0.9433), (10, 10, 0.7225, 1.0), (595, 598, 0.9853, 0.9983),
    ):  # fmt: skip
        with subtests.test(successes=successes, total=total):
            assert wilson_interval(successes, total) == pytest.approx((low, high), abs=1e-4)


def test_the_needed_number_is_the_least_that_shows_it(subtests: pytest.Subtests) -> None:
    assert needed_to_show(0, 0.005) == 598, "cases without a failure for a success rate of 99.5 %"
    for limit, bad in product((0.005, 0.01, 0.1, 0.15, 0.2), (0, 1, 2, 7, 40)):
        with subtests.test(limit=limit, bad=bad):
            needed = needed_to_show(bad, limit)
            assert is_shown_below(bad, needed, limit)
            assert not is_shown_below(bad, needed - 1, limit)
            assert needed >= log(0.05) / log(1 - limit)


# --- reasons: words that an operator understands, which quote nothing of a file


def test_the_reasons_of_a_file_and_of_a_connection_are_in_words() -> None:
    for error, words in (
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError(), "it cannot be read"),
        (UnicodeDecodeError("utf-8", b"0905\xff", 4, 5, "invalid start byte"), "it is not UTF-8 text"),
        (json.JSONDecodeError("Expecting value", "0905111222", 0), "its format is wrong"),
        (KeyError("0905111222"), "a part of it is missing or of another kind"),
    ):
        assert file_reason(error) == words
    for failure, words in (
        (httpx.ConnectError("[Errno 111] Connection refused"), "Connection refused"),
        (httpx.ConnectError("[Errno -2] Name or service not known"), "Name or service not known"),
        (httpx.ReadTimeout("timed out"), "timed out"),
        (psycopg.OperationalError("connection is lost\nDETAIL: it quotes a row"), "connection is lost"),
        (httpx.ReadTimeout(""), "no answer in time, or the connection broke"),
    ):
        assert connection_reason(failure) == words


def test_look_ups_hold_records_that_exist_and_records_that_do_not() -> None:
    present, absent = TableRecord("lead", "a"), TableRecord("lead", "b")
    look_ups = LookUps({present: CHECKED_AT}, {absent})
    assert [TableRecord("lead", name) in look_ups for name in "abc"] == [True, True, False]
    assert LookUps.load(json.loads(json.dumps(look_ups.save()))) == look_ups
