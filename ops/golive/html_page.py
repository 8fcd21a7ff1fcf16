"""The report of a gate as one HTML file, in Vietnamese and English: no script, nothing from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from leads.domain.body import ICT
from ops.golive.gates import Evaluation
from ops.golive.html_style import STYLE
from ops.golive.judgement import Judgement, Outcome
from ops.golive.record import Kind, Record
from ops.golive.text import finding, note, sign, time_text
from ops.golive.text import number as number_text
from ops.output import escape_unseen

WORDS = {
    Outcome.FAIL: ("✗", "Không đạt", "Fail"),
    Outcome.INCONCLUSIVE: ("?", "Chưa kết luận", "Inconclusive"),
    Outcome.WAIVED: ("!", "Được miễn", "Waived"),
    Outcome.NOT_APPLICABLE: ("–", "Không áp dụng", "Not applicable"),
    Outcome.PASS: ("✓", "Đạt", "Pass"),
}
"""Sign, word in Vietnamese, word in English: colours are not the only carrier of meaning."""
KINDS = {
    Kind.BEGIN: ("Bắt đầu", "Begins"),
    Kind.ATTEST: ("Xác nhận", "Attested"),
    Kind.WAIVE: ("Miễn", "Waived"),
    Kind.NOT_APPLICABLE: ("Không áp dụng", "Not applicable"),
}


@dataclass(frozen=True, slots=True)
class Figure:
    """An SVG image in Vietnamese, and its caption in English."""

    svg: str
    caption_en: str


def html_page(evaluation: Evaluation, figures: Sequence[Figure], records: Sequence[Record]) -> str:
    """Return the page; `figures` are of the key figures. Every text in it is escaped."""
    local = f"{evaluation.at.astimezone(ICT):%H:%M %d/%m/%Y}"
    title = f"Go-live {evaluation.subject} {local}"
    sections = "".join(_section(evaluation, outcome) for outcome in WORDS)
    return f"""<!doctype html>
<html lang="vi">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_text(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<h1>Cổng {_text(evaluation.subject)} <span lang="en">Gate {_text(evaluation.subject)}</span></h1>
{_state(evaluation)}
<p>{local} (giờ Việt Nam) <span lang="en">{time_text(evaluation.at)}</span>
· commit <code>{_text(evaluation.commit or "unknown")}</code></p>
{_counts(evaluation)}
{_before(evaluation)}
</header>
{_figures(figures)}
{sections}
{_records(records)}
<footer><p>Khoảng tin cậy 95 % theo Wilson. <span lang="en">Intervals are Wilson's, at 95 %.
The signature is in <code>report.dsse.json</code>: <code>leads golive verify FILE</code></span></p></footer>
</main>
</body>
</html>
"""


def _state(evaluation: Evaluation) -> str:
    if evaluation.is_open:
        return '<p class="state pass"><b>✓ MỞ</b> <span lang="en">OPEN</span></p>'
    return '<p class="state fail"><b>✗ ĐÓNG</b> <span lang="en">CLOSED</span></p>'


def _counts(evaluation: Evaluation) -> str:
    items = "".join(
        f'<div class="{outcome}"><dt>{mark} {vietnamese} <span lang="en">{english}</span></dt>'
        f"<dd>{evaluation.count(outcome)}</dd></div>"
        for outcome, (mark, vietnamese, english) in WORDS.items()
    )
    return f"<dl>{items}</dl>"


def _before(evaluation: Evaluation) -> str:
    before = evaluation.before
    if before is None:
        return ""
    mark, vietnamese, english = WORDS[before.outcome]
    return (
        f'<p class="{before.outcome}">{mark} Cổng trước {_text(before.wave)}: {vietnamese}. '
        f'<span lang="en">Gate before: {english}. {_text(before.reason)}</span></p>'
    )


def _figures(figures: Sequence[Figure]) -> str:
    if not figures:
        return ""
    drawn = "".join(
        f'<figure>{figure.svg}<figcaption lang="en">{_text(figure.caption_en)}</figcaption></figure>\n'
        for figure in figures
    )
    heading = '<h2>Chỉ số theo ngày <span lang="en">Key figures by day</span></h2>'
    return f'<section>{heading}\n<div class="figures">{drawn}</div></section>\n'


def _section(evaluation: Evaluation, outcome: Outcome) -> str:
    found = [each for each in evaluation.judgements if each.outcome is outcome]
    if not found:
        return ""
    mark, vietnamese, english = WORDS[outcome]
    heading = f'<h2>{mark} {vietnamese} ({len(found)}) <span lang="en">{english}</span></h2>'
    return f"<section>{heading}\n{''.join(map(_criterion, found))}</section>\n"


def _criterion(judgement: Judgement) -> str:
    criterion = judgement.criterion
    mark = WORDS[judgement.outcome][0]
    goal = f"{sign(criterion.operator)} {number_text(criterion.target, criterion)}"
    notes = "".join(f"<p>{_text(text)}</p>" for text in (note(judgement),) if text)
    action = ""
    if judgement.is_blocking:
        action = (
            f'<p><b>{_text(criterion.owner)}</b>: <span lang="en">{_text(criterion.remediation)}</span></p>'
        )
    return f"""<article class="{judgement.outcome}">
<h3>{mark} {_text(criterion.title_vi)} <span lang="en">{_text(criterion.title_en)}</span></h3>
<p class="small"><code>{_text(criterion.id)}</code> · {_text(", ".join(criterion.lines))} · {criterion.source}
· mục tiêu <span lang="en">target</span> {_text(goal)}</p>
<p lang="en">{_text(finding(judgement))}</p>
{notes}{action}</article>
"""


def _records(records: Sequence[Record]) -> str:
    if not records:
        return ""
    rows = "".join(_record_row(each) for each in records)
    return f"""<section><h2>Ghi nhận <span lang="en">Records</span></h2>
<ol class="records">
{rows}</ol></section>
"""


def _record_row(record: Record) -> str:
    stated = record.statement
    vietnamese, english = KINDS[record.kind]
    value = "" if stated.value is None else f" = {stated.value:g}"
    cases = "" if stated.cases is None else f" (n = {stated.cases})"
    reason = f": {_text(stated.reason)}" if stated.reason else ""
    files = "".join(
        f"<br><code>{_text(each.name)}</code> <code>{each.sha256[:16]}…</code>" for each in record.evidence
    )
    return (
        f'<li>{time_text(stated.at)} · {vietnamese} <span lang="en">{english}</span> '
        f"<code>{_text(record.of)}</code>{value}{cases}, {_text(stated.by)}{reason}{files}</li>\n"
    )


def _text(text: str) -> str:
    return escape(escape_unseen(text))
