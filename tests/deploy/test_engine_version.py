"""The version of the engine stands in the Dockerfile; all other places agree with it."""

import re
from pathlib import Path

from leads.cli.metadata.preflight import MIN_VERSION
from tests.support import source_tree

ROOT = Path(__file__).parents[2]
PINNED = re.compile(
    r"^FROM hasura/graphql-engine:(v[\d.]+)\.cli-migrations-v3(?:@sha256:\w+)? AS engine$", re.M
)
VERSION = re.compile(r"(?<!prom/prometheus:)\bv2\.\d{2}\.\d+")
FIRST_PATCH = 6
NOT_READ = ("tests/", "CHANGELOG.md")
FACTS = {
    "v2.48.10": "the genuine engine that was tried and recorded",
    "v2.50.1": "the first version with the switches for redacted logs",
}
"""Versions that a text may name besides the one that is used."""


def pinned() -> str:
    (version,) = PINNED.findall((ROOT / "Dockerfile").read_text())
    return str(version)


def test_it_is_a_patch_of_the_supported_line() -> None:
    major, minor, patch = map(int, pinned().removeprefix("v").split("."))
    assert (major, minor) == (2, 50)
    assert patch >= FIRST_PATCH


def test_the_first_patch_is_the_first_version_that_leads_metadata_accepts() -> None:
    assert MIN_VERSION == (2, 50, FIRST_PATCH)


def test_the_image_is_named_in_the_example_for_kubernetes_too() -> None:
    named = [
        source_tree.name(path)
        for path in source_tree.tracked()
        if re.search(r"graphql-engine:v?\d", path.read_text("utf-8", errors="replace"))
        and not source_tree.name(path).startswith(NOT_READ)
    ]
    assert named == ["Dockerfile", "deploy/kubernetes/hasura.yaml"]


def test_the_stand_in_reports_it() -> None:
    settings = (ROOT / "sandbox/engine/graphql_engine/settings.py").read_text()
    assert re.findall(r'^VERSION = "(.+)"$', settings, re.M) == [pinned()]


def test_no_text_names_another_version() -> None:
    others = {
        source_tree.name(path): found - {pinned()} - FACTS.keys()
        for path in source_tree.tracked()
        if (found := set(VERSION.findall(path.read_text("utf-8", errors="replace"))))
        and not source_tree.name(path).startswith(NOT_READ)
    }
    assert {name: found for name, found in others.items() if found} == {}
