"""`leads alert test` with a real Alertmanager, its routes and receivers."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner
from typer.testing import Result as Run

from leads.adapters.alertmanager import Attempts
from leads.cli.__main__ import app
from leads.cli.alert.delivery import Result, judge
from sandbox.incidents.rules import ALERTMANAGER, load
from tests.support.monitoring import RunningAlertmanager, needs_monitoring, running_alertmanager

TIMEOUT = "20"


@pytest.fixture(scope="module")
def alertmanager() -> Iterator[RunningAlertmanager]:
    with running_alertmanager() as running:
        yield running


def leads(url: str, *arguments: str) -> Run:
    return CliRunner().invoke(app, ["alert", "test", *arguments], env={"ALERTMANAGER_URL": url})


@needs_monitoring
def test_it_names_the_receivers_at_which_the_alert_arrived_and_ends_it(
    alertmanager: RunningAlertmanager,
) -> None:
    for severity, receivers in (("warning", ["team_channel"]), ("critical", ["pager", "team_channel"])):
        result = leads(alertmanager.url, "--severity", severity, "--timeout", TIMEOUT, "--json")
        assert result.exit_code == 0, result.output
        document = json.loads(result.stdout)
        assert document["arrived"]
        assert [each["receiver"] for each in document["deliveries"]] == receivers
        assert {each["result"] for each in document["deliveries"]} == {"accepted"}
        assert all(each["is_certain"] for each in document["deliveries"])
        got = [each for each in alertmanager.inbox.received() if each.labels == document["labels"]]
        assert {each.receiver for each in got if each.status == "firing"} == set(receivers)
    result = leads(alertmanager.url, "--timeout", TIMEOUT)
    assert result.exit_code == 0, result.output
    assert result.stdout == "team_channel: webhook accepted it\n"
    assert "The alert arrived after" in result.stderr
    assert alertmanager.inbox.wait(lambda inbox: "PancakeAlertTest" not in inbox.firing(), 20)


@needs_monitoring
def test_a_receiver_that_refuses_it_is_named_and_the_others_are_not() -> None:
    with running_alertmanager(refuses="pager") as running:
        result = leads(running.url, "--severity", "critical", "--timeout", "2")
    assert result.exit_code == 1
    assert result.stdout == "pager: webhook did not accept it\nteam_channel: webhook accepted it\n"
    assert "401 or 403 is a key" in " ".join(result.stderr.split())


@needs_monitoring
def test_a_long_group_wait_is_said() -> None:
    route = {"receiver": "team_channel", "group_wait": "1m"}
    with running_alertmanager(changes={"route": route, "inhibit_rules": []}) as running:
        result = leads(running.url, "--timeout", "1")
    assert result.exit_code == 1
    assert result.stdout == "team_channel: webhook was not sent it yet\n"
    assert "group_wait of the route is longer" in result.stderr


@needs_monitoring
def test_a_second_test_does_not_wait_for_the_group_of_the_first() -> None:
    group_by = load(ALERTMANAGER)["route"]["group_by"]
    route = {"receiver": "team_channel", "group_by": group_by, "group_wait": "1s", "group_interval": "1h"}
    with running_alertmanager(changes={"route": route, "inhibit_rules": []}) as running:
        for _ in range(2):
            result = leads(running.url, "--timeout", "10")
            assert result.exit_code == 0, result.output


@needs_monitoring
def test_a_silence_is_named(alertmanager: RunningAlertmanager) -> None:
    """The last one with this Alertmanager: the silence stays."""
    alertmanager.silence("PancakeAlertTest")
    result = leads(alertmanager.url, "--timeout", TIMEOUT)
    assert result.exit_code == 1
    assert "A silence keeps the alert back" in result.stderr


@needs_monitoring
def test_a_receiver_without_integration_sends_nothing() -> None:
    receivers = [{"name": name} for name in ("pager", "team_channel", "heartbeat")]
    with running_alertmanager(changes={"receivers": receivers}) as running:
        result = leads(running.url, "--timeout", TIMEOUT)
    assert result.exit_code == 1
    assert "sends nothing: team_channel" in result.stderr


def test_an_alertmanager_that_does_not_answer_is_named() -> None:
    result = leads("http://127.0.0.1:9")
    assert result.exit_code == 3
    assert "Could not reach Alertmanager" in result.stderr
    assert "Check ALERTMANAGER_URL" in result.stderr


@pytest.mark.parametrize(
    ("url", "says"), [("", "ALERTMANAGER_URL is not set"), ("alerts", "is not an http or https URL")]
)
def test_a_missing_or_wrong_url_is_named(url: str, says: str) -> None:
    result = leads(url)
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


KINDS = {"pager": Counter(pagerduty=1), "team_channel": Counter(slack=1, email=2)}


@pytest.mark.parametrize(
    ("emails", "result"),
    [
        (Attempts(accepted=7), Result.ACCEPTED),
        (Attempts(accepted=6), Result.WAITING),
        (Attempts(accepted=6, failed=1), Result.REFUSED),
        (Attempts(accepted=7, failed=3), Result.ACCEPTED),
    ],
)
def test_each_integration_needs_a_request_that_was_accepted(emails: Attempts, result: Result) -> None:
    before = {("slack", ""): Attempts(accepted=1), ("email", ""): Attempts(accepted=5)}
    after = {("slack", ""): Attempts(accepted=2), ("email", ""): emails}
    found = {each.integration: each for each in judge(["team_channel"], KINDS, before, after)}
    assert found["slack"].result is Result.ACCEPTED
    assert found["email"].result is result
    assert not found["email"].is_certain
