"""The report as one HTML file for managers, in Vietnamese: no script, nothing from elsewhere."""

from html import escape

from leads.domain.body import ICT
from ops.output import escape_unseen
from ops.report.figures import OwnerFigures, Report, SourceFigures
from ops.report.text import duration, is_fair, percentage, source_name

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #2563eb; --bad: #b91c1c }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 16px/1.4 system-ui, sans-serif }
h1 { font-size: 1.4rem; margin: 0 }
h2 { font-size: 1.15rem; margin: 0 0 .5rem }
p { margin: .25rem 0 }
section { border: 1px solid var(--line); border-radius: .6rem; padding: .9rem; margin: 1rem 0 }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .5rem; margin: 0 }
dl div { background: var(--soft); border-radius: .4rem; padding: .45rem .6rem }
dt { font-size: .8rem; opacity: .8 }
dd { margin: 0; font-size: 1.2rem; font-weight: 600 }
dd small { display: block; font-size: .8rem; font-weight: 400 }
ul { list-style: none; margin: .8rem 0 0; padding: 0 }
li { margin: .45rem 0 }
li span { display: flex; justify-content: space-between; gap: .6rem }
li i { display: block; height: .45rem; border-radius: .25rem; background: var(--accent); min-width: 2px }
.note { font-size: .85rem; opacity: .85 }
.bad { color: var(--bad); font-weight: 600 }
@media (prefers-color-scheme: dark) { :root { --accent: #60a5fa; --bad: #f87171 } }
"""
NOTES = """<p class="note">Lead được tính cho nguồn được ghi đầu tiên. “Đang giữ”: lead chờ vì nguồn
hoặc công tắc đang tắt. “Đã đổi người”: ticket không còn ở người được hệ thống chọn. “Webhook bỏ sót”: lead
do hệ thống tự tìm lại. Ticket chưa phản hồi được tính bằng tuổi của nó ở cuối kỳ.</p>"""


def html_page(report: Report) -> str:
    """Return the page; every name in it is escaped."""
    period = report.period
    days = f"{period.first:%d/%m/%Y} – {period.last:%d/%m/%Y}"
    made = f"Số liệu đến {period.until.astimezone(ICT):%H:%M %d/%m/%Y}"
    sections = [_section(report.total, [])]
    sections += [_section(source, report.owners_of(source)) for source in report.sources]
    return f"""<!doctype html>
<html lang="vi">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Lead Pancake {days}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Lead Pancake: {days}</h1>
<p class="note">{made} (giờ Việt Nam)</p>
{"".join(sections)}
{NOTES}
</body>
</html>
"""


def _section(source: SourceFigures, owners: list[OwnerFigures]) -> str:
    title = _text(source_name(source, "Tất cả các nguồn", "Không có nguồn"))
    figures = [
        ("Lead", str(source.leads)),
        ("Ticket", str(source.tickets)),
        ("Chưa có người phụ trách", str(source.unassigned)),
        ("Đang giữ", str(source.held)),
        ("Không có số điện thoại", str(source.no_phone)),
        ("Webhook bỏ sót", str(source.missed_by_webhook)),
        ("Đã đổi người", str(source.changed)),
        ("Chưa phản hồi", str(source.unanswered)),
        ("Phản hồi đầu tiên p50", _times(source.response_p50_minutes, source.response_p50_business_minutes)),
        ("Phản hồi đầu tiên p95", _times(source.response_p95_minutes, source.response_p95_business_minutes)),
    ]
    tiles = "".join(f"<div><dt>{name}</dt><dd>{shown}</dd></div>" for name, shown in figures)
    return f"<section>\n<h2>{title}</h2>\n<dl>{tiles}</dl>\n{_owners(owners)}</section>\n"


def _times(by_clock: float | None, in_business_hours: float | None) -> str:
    clock, business = (duration(minutes, "phút", "giờ") for minutes in (by_clock, in_business_hours))
    return f"{clock} <small>trong giờ làm việc: {business}</small>"


def _owners(owners: list[OwnerFigures]) -> str:
    """The share of each owner as a bar, and how far the roster is from an even distribution."""
    if not owners:
        return ""
    items = "".join(
        f"<li><span><b>{_text(owner.owner or '–')}</b> <span>{owner.tickets} · {percentage(owner.share)}"
        f"{_details(owner)}</span></span>"
        f'<i style="width: {(owner.share or 0) * 100:.1f}%"></i></li>\n'
        for owner in owners
    )
    return f"<ul>\n{items}</ul>\n{_fairness(owners[0])}"


def _details(owner: OwnerFigures) -> str:
    weight = f" · trọng số {owner.weight}" if owner.weight not in (None, 1) else ""
    changed = f" · đổi {owner.changed}" if owner.changed else ""
    return weight + changed


def _fairness(owner: OwnerFigures) -> str:
    if owner.spread is None or owner.bound is None:
        return '<p class="note">Chia đều: hiện không có ai sẵn sàng nhận lead.</p>\n'
    shown = f"Chia đều: chênh lệch {owner.spread:.2f}, tối đa cho phép {owner.bound:.2f}"
    if is_fair(owner):
        return f'<p class="note">{shown}.</p>\n'
    return f'<p class="bad">{shown}: vượt mức.</p>\n'


def _text(name: str) -> str:
    return escape(escape_unseen(name))
