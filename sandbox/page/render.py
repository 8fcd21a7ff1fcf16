"""The page as HTML, written on the server. Every value is escaped."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape

from ops.switches import Switch
from sandbox.page.stories import Lead, View
from sandbox.payloads import Sample

CHAIN = {
    "pancake": ("Pancake", "where leads come from"),
    "edge": ("Edge", "checks and forwards, keeps what it cannot deliver"),
    "hasura": ("Hasura", "REST endpoint, event trigger, crons"),
    "handlers": ("Handlers", "our code: store, decide, write"),
    "notifications": ("Messages", "Diva's service, tells the staff"),
}
"""The parts in the order of a lead's way, with what each does."""

SWITCHES = {
    "kill": ("Kill switch", "leads are stored and held, no ticket is created"),
    "pause": ("Pause", "leads are stored and wait, nothing is held"),
}
"""By the kind of a switch: its name, and what it does while it is on."""
STATUS = {
    "processed": ("done", "ok"),
    "received": ("waits", "wait"),
    "ingested": ("at work", "wait"),
    "failed": ("failed, tried again", "bad"),
    "dead_letter": ("needs a person", "bad"),
    "skipped_kill_switch": ("held", "held"),
    "skipped_source_disabled": ("held", "held"),
}
AGAIN = {"failed", "dead_letter", "skipped_kill_switch", "skipped_source_disabled"}


def page(live: str, samples: Sequence[Sample], token: str, nonce: str) -> str:
    """Return the whole page; `live` is the part that is loaded again every second."""
    extra = "".join(_button(f"/samples/{each.name}", each.title, token, "small") for each in samples)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Pancake leads become tickets</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/page.css"><script nonce="{nonce}" src="/page.js" defer></script>
<noscript><meta http-equiv="refresh" content="3"></noscript></head><body>
<header><h1>Pancake leads become tickets</h1>
<p>A customer writes on Facebook or TikTok. Pancake sends the lead here; a second later the customer has an
account, a contact and one ticket, and its owner is told. Send a lead and watch. Then stop a part: no lead is
lost.</p>
<div class="actions">{_button("/leads", "Send a new lead", token, "main")}
{_button("/leads/burst", "Send 10 leads", token)}
{_button("/leads/again", "Send the last lead again", token)}</div>
<details id="samples"><summary>Send one of the {len(samples)} samples: duplicates, broken bodies,
odd phones</summary><div class="actions">{extra}</div></details></header>
<p id="note" class="note" role="status">Nothing pressed yet.</p><main id="live">{live}</main>
<footer>The sandbox on this machine: Pancake, Hasura and Diva are stand-ins; edge, handlers and database are
the product's. All people are invented. The story of a lead is that of <code>leads trace</code>;
times are in UTC. From a shell, with the sandbox that <code>scripts/sandbox up --env-file .env</code> started:
<code>scripts/sandbox send happy --env-file .env</code> sends a lead, <code>scripts/leads tail</code> shows
its result.</footer></body></html>"""


def live_part(view: View, parts: Mapping[str, bool], token: str, note: str = "") -> str:
    """Return the part of the page that changes. `parts`: whether each part runs."""
    chain = "".join(_part(name, token, runs=parts[name]) for name in CHAIN)
    leads = "".join(_lead(lead, token) for lead in view.leads)
    held = any(number for status, number in view.counts.items() if status.startswith("skipped"))
    process = _button("/leads/held", "Process all held leads", token, "small") if held else ""
    said = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"""{said}<section aria-label="The way of a lead"><h2>The way of a lead</h2>
<ol class="chain">{chain}</ol>{_switches(view, token)}</section>
<div class="columns"><section aria-label="Leads"><div class="bar"><h2>Leads</h2>
<small>{_counts(view)}</small>{process}</div>
{leads or '<p class="empty">No lead yet. Send one with the button above.</p>'}</section>
<section aria-label="Owners"><h2>Tickets by owner</h2>{_owners(view)}
<h2>Sources</h2>{_sources(view, token)}</section></div>"""


def _part(name: str, token: str, *, runs: bool) -> str:
    title, does = CHAIN[name]
    action, label = ("stop", "Stop") if runs else ("start", "Start")
    return (
        f'<li class="{"up" if runs else "down"}"><b>{escape(title)}</b><span>{escape(does)}</span>'
        f"<em>{'runs' if runs else 'stopped'}</em>{_button(f'/parts/{name}/{action}', label, token, 'small')}"
        "</li>"
    )


def _switches(view: View, token: str) -> str:
    items = ""
    for switch in view.switches:
        if switch.kind not in SWITCHES:
            continue
        title, meaning = SWITCHES[switch.kind]
        now, then = _states(switch)
        button = _button(f"/switches/{switch.kind}/{then}", f"Turn {then}", token, "small")
        text = f"<b>{title} is {now}{_since(switch)}</b><span>While on, {meaning}</span>"
        items += f'<li class="{now}">{text}{button}</li>'
    return f'<ul class="switches">{items}</ul>'


def _sources(view: View, token: str) -> str:
    rows = ""
    for switch in view.switches:
        if switch.kind != "source" or not switch.can_be_on:
            continue
        now, then = _states(switch)
        button = _button(f"/sources/{switch.row_id}/{then}", f"Turn {then}", token, "small")
        name = escape(switch.name or switch.pancake_source_id or "")
        rows += f"<tr><td>{name}</td><td>{now}</td><td>{button}</td></tr>"
    return f"<table>{rows}</table><p>A lead makes a ticket if one of its sources is on.</p>"


def _states(switch: Switch) -> tuple[str, str]:
    """Return how a switch is, and how the button turns it."""
    return ("on", "off") if switch.is_on else ("off", "on")


def _since(switch: Switch) -> str:
    return f" since {_time(switch.changed_at)}" if switch.is_on and switch.changed_at else ""


def _lead(lead: Lead, token: str) -> str:
    story, (word, kind) = lead.story, STATUS[lead.status]
    steps = "".join(_step(_time(step.at), step.kind, step.text) for step in story.steps)
    again = ""
    if lead.status in AGAIN:
        again = _button(f"/leads/{lead.event_id}/again", "Process again", token, "small")
    tickets = f"<b>{escape(', '.join(story.tickets))}</b> " if story.tickets else ""
    return (
        f'<article class="{kind}"><h3>{escape(lead.name or "(no name)")}'
        f'<span class="chip">{tickets}{word}</span></h3>'
        f"<ol>{steps}{_step('', 'next', story.next)}</ol>{again}</article>"
    )


def _step(at: str, kind: str, text: str) -> str:
    """Return a line of a story, as `leads trace` prints it."""
    return f"<li><time>{at}</time><b>{escape(kind)}</b><span>{escape(text)}</span></li>"


def _counts(view: View) -> str:
    words: dict[str, int] = {}
    for status, number in sorted(view.counts.items()):
        words[STATUS[status][0]] = words.get(STATUS[status][0], 0) + number
    return ", ".join(f"{word}: {number}" for word, number in words.items())


def _owners(view: View) -> str:
    most = max((owner["tickets"] for owner in view.owners), default=0) or 1
    rows = ""
    for owner in view.owners:
        name = escape(owner["name"]) + ("" if owner["on_duty"] else " <small>off duty</small>")
        meter = f'<meter min="0" max="{most}" value="{owner["tickets"]}"></meter>'
        rows += f"<tr><td>{name}</td><td>{meter}</td><td>{owner['tickets']}</td></tr>"
    return f"<table>{rows}</table><p>Owners take turns within the roster of the lead's source.</p>"


def _button(action: str, label: str, token: str, kind: str = "") -> str:
    return (
        f'<form method="post" action="{escape(action)}"><input type="hidden" name="token" value="{token}">'
        f'<button class="{kind}">{escape(label)}</button></form>'
    )


def _time(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%H:%M:%S}" if at else ""
