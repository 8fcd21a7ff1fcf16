"""What the runbooks tell a person to type exists: verbs and options of `leads`, series of Prometheus.

Those that change nothing run in tests/end_to_end/test_operators.py.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from app import HASURA_ROUTES
from leads.cli.__main__ import app
from tests.support.promql import lint
from tests.support.runbook import PAGES, commands, queries_of_blocks, words_of_code

SERIES = re.compile(r"\bpancake_\w+")
ROLES = {f"pancake_{name}" for name in ("service", "edge", "handlers", "operators")}
"""Roles of Hasura and PostgreSQL, and the jobs of Prometheus."""
IN_DATABASE = re.compile(
    r"pancake_(webhook_event|cron_run|connection|source|assignee|switch|integration|metadata|crm_integration)\w*"
)
MISSING = ("does not exist", "has no such label or value")


def fault(command: str) -> str | None:
    """What is wrong with a call: a verb or an option that does not exist, a word too many."""
    node: Any = typer.main.get_command(app)
    words = shlex.split(command)
    while words and hasattr(node, "commands"):
        if "…" in words[0]:
            return None
        if words[0] not in node.commands:
            return f"no verb {words[0]}"
        node = node.commands[words.pop(0)]
    options = {name: option for option in node.params for name in (*option.opts, *option.secondary_opts)}
    places = [option for option in node.params if option.param_type_name == "argument"]
    given = 0
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            given += 1
        elif word not in options:
            return f"no option {word}"
        elif not getattr(options[word], "is_flag", False) and words:
            words.pop(0)
    takes_many = any(place.nargs == -1 for place in places)
    return None if given <= len(places) or takes_many else "a word too many"


@pytest.mark.parametrize("page", PAGES)
def test_the_calls_of_leads_are_ones_that_it_takes(page: str) -> None:
    assert {command: said for command in commands(page) if (said := fault(command))} == {}


def test_calls_are_found_in_sentences_and_blocks() -> None:
    found = {command for page in PAGES for command in commands(page)}
    assert {"metadata verify", "replay 17 18", "connection test", "metadata recover"} <= found
    assert len(found) > 60


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("replya 17", "no verb replya"),
        ("metadata 9c", "no verb 9c"),
        ("replay 17 --dryrun", "no option --dryrun"),
        ("status now", "a word too many"),
        ("replay --status dead_letter --dry-run", None),
        ("connection set-…", None),
    ],
)
def test_a_call_that_it_does_not_take_is_found(command: str, said: str | None) -> None:
    assert fault(command) == said


def queries(page: str) -> Iterator[str]:
    """The words of code that name a series of handlers or edge, and nothing of Hasura or SQL."""
    others = ROLES | {route.name for route in HASURA_ROUTES}
    for code in words_of_code(page):
        names = {name for name in SERIES.findall(code) if name not in others and not IN_DATABASE.match(name)}
        if names:
            yield code


def missing(query: str) -> list[str]:
    """What a query names that does not exist. `name{label}` has any value, a histogram is its count."""
    written = SERIES.sub(lambda match: _histogram_count(match[0]), query)
    written = re.sub(r"\{(\w+(?:,\w+)*)\}", lambda match: "{" + _any_value(match[1]) + "}", written)
    return [fault for fault in lint().faults(written) if fault.endswith(MISSING)]


def _histogram_count(name: str) -> str:
    return f"{name}_count" if f"{name}_count" in lint().metrics else name


def _any_value(labels: str) -> str:
    return ",".join(f'{label}=~".*"' for label in labels.split(","))


@pytest.mark.parametrize("page", PAGES)
def test_the_series_that_a_runbook_names_exist_with_these_labels(page: str) -> None:
    assert {query: faults for query in queries(page) if (faults := missing(query))} == {}


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_promql_are_right(page: str) -> None:
    assert {query: faults for query in queries_of_blocks(page) if (faults := lint().faults(query))} == {}


def test_a_series_that_does_not_exist_is_found() -> None:
    assert sum(1 for page in PAGES for _ in (*queries(page), *queries_of_blocks(page))) > 50
    assert missing("pancake_edge_spool_file") == ["pancake_edge_spool_file does not exist"]
    assert missing("pancake_edge_quarantined_total{raison}") != []
    assert missing('pancake_events_total{result="faild"}') != []
