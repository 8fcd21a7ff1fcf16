"""The report as people see it: harmless, readable on a phone, on paper and with a screen reader."""

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from leads.cli.golive.html_page import html_page
from leads.cli.golive.judgement import Outcome
from tests.support.browser import DRIVER, Browser, browsing
from tests.support.golive_sample import sample_evaluation, sample_figures, sample_records

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "docs" / "go-live-report.html"
WRITE = "WRITE_DOCS=1 scripts/test tests/leads/cli/test_golive_page.py"
AXE = "axe-core@4.11.0"
HOSTILE = "<script>alert(1)</script>\"'&\u202e"
PHONE, DESKTOP = (390, 844), (1280, 900)
needs_browser = pytest.mark.skipif(DRIVER is None, reason="chromium-driver is not installed")


def page() -> str:
    return html_page(sample_evaluation(), sample_figures(), sample_records())


def test_the_sample_in_the_documentation_is_current() -> None:
    if os.environ.get("WRITE_DOCS"):
        SAMPLE.write_text(page(), "utf-8")
    assert SAMPLE.read_text("utf-8") == page(), f"make it with: {WRITE}"


def test_the_page_loads_nothing_and_runs_nothing() -> None:
    text = page()
    assert "default-src 'none'" in text
    assert not re.search(r"<script|<link|<iframe|<img|src=|href=|url\(|@import|\son\w+=", text)


def test_every_text_is_escaped() -> None:
    evaluation = sample_evaluation()
    judgements = [
        replace(each, measurement=replace(each.measurement, details=HOSTILE), reason=HOSTILE)
        for each in evaluation.judgements
    ]
    records = [
        replace(each, statement=replace(each.statement, by=HOSTILE, reason=HOSTILE, of=HOSTILE))
        for each in sample_records()
    ]
    hostile = replace(evaluation, judgements=tuple(judgements), commit=HOSTILE)
    text = html_page(hostile, [], records)
    assert "<script" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text


class Structure(HTMLParser):
    """The headings of a page in their order, and whether each element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br"):
            self.open.append(tag)
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_headings_follow_each_other_and_elements_are_closed() -> None:
    structure = Structure()
    structure.feed(page())
    assert structure.open == []
    assert structure.headings[0] == 1
    pairs = zip(structure.headings, structure.headings[1:], strict=False)
    assert all(following <= heading + 1 for heading, following in pairs)


def test_every_outcome_has_a_sign_and_words_in_both_languages() -> None:
    text = page()
    found = {each.outcome for each in sample_evaluation().judgements}
    assert found == set(Outcome)
    for words in ("✗ Không đạt", "? Chưa kết luận", "! Được miễn", "– Không áp dụng", "✓ Đạt"):
        assert words in text
    for words in ("Fail", "Inconclusive", "Waived", "Not applicable", "Pass", "CLOSED"):
        assert f'<span lang="en">{words}' in text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(page(), "utf-8")
    return path


@pytest.fixture(params=[PHONE, DESKTOP], ids=["phone", "desktop"])
def browser(request: pytest.FixtureRequest, file: Path) -> Iterator[Browser]:
    with browsing(*request.param) as running:
        running.open(file.as_uri())
        yield running


@needs_browser
def test_it_fits_a_phone_with_readable_letters_and_prints_on_a_few_pages(file: Path) -> None:
    with browsing(*PHONE) as running:
        running.open(file.as_uri())
        is_narrow = running.run("return document.documentElement.scrollWidth <= window.innerWidth")
        smallest = running.run(
            "return Math.min(...[...document.querySelectorAll('svg text')].map(text =>"
            " parseFloat(getComputedStyle(text).fontSize) * text.getCTM().a))"
        )
        printed = running.session.post("/print", json={"page": {"width": 21.0, "height": 29.7}})
    assert is_narrow
    assert smallest >= 8
    pdf = base64.b64decode(printed.json()["value"])
    assert pdf.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 8


@needs_browser
@pytest.mark.full("npm installs axe-core")
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_axe_core_finds_nothing(browser: Browser, tmp_path: Path) -> None:
    subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(tmp_path), AXE],
        check=True,
        timeout=120,
    )
    browser.run((tmp_path / "node_modules" / "axe-core" / "axe.min.js").read_text("utf-8"))
    violations, passes = browser.run(
        "return axe.run().then(found => [found.violations.map(each => each.id), found.passes.length])"
    )
    assert violations == []
    assert passes > 10
