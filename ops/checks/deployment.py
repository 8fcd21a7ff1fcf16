"""What is asked of the steps of the deployment: what each left, and what they need of Diva's database."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from shlex import quote
from typing import Any

from ops.checks.database import run_sql
from ops.checks.leads import since
from ops.checks.model import Checks, Facts, Finding, Params, Reader, When, green, judged, red, unknown
from ops.checks.services import Services
from ops.clients.db_session import QUERIES, DbSession, load_row
from ops.output import first, times
from ops.switches import Switch, list_switches

CHECKS = Checks()
MIN_POSTGRESQL = 15
ANALYZE = run_sql("ANALYZE account, pancake_webhook_event")
MAX_SNAPSHOT_AGE = timedelta(hours=24)
ASK_DIVA = (
    "It differs from docs/diva-contract.md: ask Diva's developers; then: leads golive precheck database"
)
SMALL_TABLE_ROWS = 10_000
"""Below it the planner may rightly read a whole table."""
LOOKUPS: Mapping[str, Mapping[str, object]] = {
    "golive/find_account": {"phone": "+84900000000"},
    "golive/find_events_of_phone": {"phone": "+84900000000"},
    "golive/find_event": {
        "record_id": "golive", "modified_on": datetime(2026, 1, 1, tzinfo=UTC), "payload_hash": b"\0" * 32,
    },
}  # fmt: skip
"""The lookups of every lead, each with values that are like real ones."""


Opening = tuple[Mapping[str, Any], list[Switch]]
"""What opens the pilot: the row of golive/load_opening, and the switches with who turned them."""


def one_row(name: str) -> Reader[Mapping[str, Any]]:
    def read(services: Services) -> Mapping[str, Any]:
        with services.database() as db:
            return load_row(db, name)

    return read


def read_migrations(services: Services) -> dict[str, Mapping[str, Any]]:
    """Return what each migration creates, and what of it is missing, by its last three digits."""
    with services.database() as db:
        return {row["migration"]: row for row in db.execute(QUERIES["golive/list_migrations"]).fetchall()}


@CHECKS.add(
    "migrations", "Has the database what each migration creates?", When.CRITERION, read_migrations,
    needs="database", fine="all of it is there", cure="hasura migrate apply --database-name default",
    runbook="docs/runbook/install.md#4-migrations", login="owner",
)  # fmt: skip
def ask_migrations(facts: Facts, params: Params) -> Iterator[Finding]:
    """Say what of a `migration` is missing; without one, which migration is half done."""
    rows = facts.get(read_migrations)
    wanted = params.get("migration")
    if wanted and wanted not in rows:
        yield red(f"nothing is known of migration …{wanted}", is_present=False)
    for name, row in rows.items():
        missing = row["missing"]
        is_present = len(missing) < row["expected"]
        if wanted in (None, name) and missing and (wanted or is_present):
            yield red(f"of migration …{name} is missing: {first(missing)}", about=name, is_present=is_present)


def read_phones(services: Services) -> tuple[int, int]:
    """Return how many accounts the backfill has filled, and how many usable phones it has left."""
    from leads.domain.phone import normalize
    from ops.daily.backfill_phones import count_accounts, read_batches

    with services.database() as db:
        left = sum(
            normalize(account.phone_number, account.phone_code)[0] is not None
            for batch in read_batches(db, 10_000)
            for account in batch
        )
        return count_accounts(db)["normalized"], left


@CHECKS.add(
    "backfill", "Has every account with a usable phone its normalized one?", When.CRITERION, read_migrations,
    read_phones, needs="database", cure="leads backfill-phones",
    runbook="docs/runbook/install.md#10-phones-of-the-accounts", login="owner", seconds=600.0,
)  # fmt: skip
def ask_backfill(facts: Facts, params: Params) -> Iterator[Finding]:
    migrations = facts.get(read_migrations)
    if "column account.normalized_phone" in migrations["928"]["missing"]:
        yield red("account has no column normalized_phone yet", is_present=False)
        return
    filled, left = facts.get(read_phones)
    if migrations["929"]["missing"]:
        yield red(f"no index; {filled} accounts are filled", is_present=bool(filled))
    elif left:
        yield red(f"{times(left, 'account')} with a usable phone that is not normalized")
    else:
        yield green(f"{filled} accounts are filled, no usable phone is left")


@CHECKS.add_direct(
    "ticket-source", "Is the ticket source Pancake there?", needs="database",
    cure="hasura migrate apply --database-name default", login="owner",
    runbook="docs/runbook/rollback.md#932-tickets-refer-to-the-source",
)  # fmt: skip
def ask_ticket_source(services: Services) -> Iterator[Finding]:
    """A disabled source is what the soft way back leaves, as long as tickets refer to it."""
    row = one_row("golive/load_ticket_source")(services)
    referring = f"{times(row['tickets'], 'ticket refers', 'tickets refer')} to it"
    if not row["is_there"]:
        yield red("there is no ticket source Pancake", is_present=False)
    elif row["is_disabled"]:
        yield red(f"it is disabled; {referring}", is_present=False)
    else:
        yield green(f"it is there; {referring}")


@CHECKS.add_direct(
    "deliveries", "Has the webhook delivered to each connection?", needs="database",
    cure="Enter the URL in Pancake, Settings, Tools, Webhook; then: leads connection test",
    runbook="docs/runbook/install.md#7-the-connection-to-pancake",
)  # fmt: skip
def ask_deliveries(services: Services) -> Iterator[Finding]:
    with services.database() as db:
        rows = db.execute(QUERIES["golive/load_connection"]).fetchall()
    active = [row for row in rows if not row["is_disabled"]]
    if not active:
        yield red("there is no connection that is not disabled", is_present=False)
    for row in active:
        name = row["name"]
        if not row["has_key"]:
            yield red(f"connection {name} has no API key", "leads connection set-api-key", name)
        elif not row["is_delivered"]:
            yield red(f"nothing was delivered yet to connection {name}", about=name)
        else:
            yield green(f"the webhook delivers to {name}", about=name)


def read_opening(services: Services) -> Opening:
    with services.database() as db:
        return load_row(db, "golive/load_opening"), list_switches(db)


@CHECKS.add(
    "before-opening", "Does the kill switch hold the leads until the pilot starts?", When.CRITERION,
    read_opening, needs="database", fine="leads are held", cure="leads switch kill on --reason go-live",
    runbook="docs/runbook/go-live.md#sources-and-switches",
)  # fmt: skip
def ask_before_opening(facts: Facts, params: Params) -> Iterator[Finding]:
    """Before the pilot the kill switch holds all leads, and at most one source is active."""
    row, switches = facts.get(read_opening)
    active = row["active"]
    if not row["is_held"]:
        yield red("the kill switch is off")
    if len(active) > 1:
        yield red(f"{len(active)} sources are active: {first(active)}", _to_one_source(active, switches))
    yield from _paused(facts)


@CHECKS.add(
    "opening", "Is the pilot open, for one source?", When.CRITERION, read_opening, needs="database",
    cure="leads switch kill off --reason go-live", runbook="docs/runbook/go-live.md#sources-and-switches",
)  # fmt: skip
def ask_opening(facts: Facts, params: Params) -> Iterator[Finding]:
    """Nothing holds leads, and one source is active; as a `step` also a lead has become a ticket."""
    row, switches = facts.get(read_opening)
    active = row["active"]
    for switch in switches:
        if switch.kind == "kill" and row["is_held"]:
            yield red(f"the kill switch is on {since(switch)}: leads are held", is_present=bool(active))
    yield from _paused(facts)
    if len(active) != 1:
        text = f"exactly one source has to be active, and {len(active)} are"
        yield red(text, _to_one_source(active, switches))
    elif "step" in params and not row["members"]:
        text = "no roster has a member: tickets would have no owner"
        yield red(text, "Settings → Pancake → Rosters: add members, then: leads status")
    elif "step" in params and not row["is_processed"]:
        yield red("open, and no lead has become a ticket yet", "leads tail")
    else:
        yield green(f"open for {active[0]}")


def _to_one_source(active: Sequence[str], switches: Sequence[Switch]) -> str:
    """Return the command that leaves one source active, or that makes one active; a person chooses which."""
    if active:
        others = " ".join(map(quote, active[1:]))
        return f"Leave one active, for example {active[0]}: leads switch source {others} off --reason go-live"
    can_be_on = [each.name for each in switches if each.kind == "source" and each.can_be_on and each.name]
    if not can_be_on:
        return "leads cron run sync_sources"
    return f"Choose one of {first(can_be_on)}: leads switch source {quote(can_be_on[0])} on --reason go-live"


def _paused(facts: Facts) -> Iterator[Finding]:
    """A pause is red here, also if all else is green: the next step would wait for ever."""
    row, switches = facts.get(read_opening)
    for switch in switches:
        if switch.kind == "pause" and row["is_paused"]:
            text = f"processing is paused {since(switch)}: leads wait"
            yield red(text, "leads switch pause off --reason done")


CHECKS.add_statement(
    "diva-columns", "Have Diva's tables the columns that the integration uses?", "golive/check_diva_columns",
    fine="all are there", cure=ASK_DIVA, runbook="docs/runbook/go-live.md#divas-side",
)  # fmt: skip
CHECKS.add_statement(
    "diva-sources", "Has Diva its eight ticket sources?", "golive/check_ticket_sources",
    fine="they are there", cure=ASK_DIVA, runbook="docs/runbook/go-live.md#divas-side", login="owner",
)  # fmt: skip
CHECKS.add_statement(
    "diva-migration", "Is Diva's newest migration the one before the integration's?",
    "golive/check_migration_log", fine="it is the one before those of the integration",
    cure="Renumber our migrations, or name it in golive/check_migration_log if it touches no table of them. "
    "To see it: hasura migrate status --database-name default",
    runbook="docs/runbook/go-live.md#divas-side", login="owner",
)  # fmt: skip


read_size = one_row("golive/load_size")


@CHECKS.add(
    "postgresql", "Is PostgreSQL new enough?", When.CRITERION, read_size, needs="database",
    cure="Upgrade PostgreSQL; for an older one see docs/diva-contract.md; then: leads golive precheck",
    runbook="docs/diva-contract.md#postgresql-older-than-15",
)  # fmt: skip
def ask_postgresql(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_size)["version"]
    yield judged(found >= MIN_POSTGRESQL, f"PostgreSQL {found}; {MIN_POSTGRESQL} or later is needed")


@CHECKS.add(
    "accounts", "Has the database the accounts of production?", When.CRITERION, read_size,
    needs="database", cure="Check DATABASE_URL: account is empty; then: leads golive precheck database",
    runbook="docs/performance.md#backfill",
)  # fmt: skip
def ask_accounts(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_size)["accounts"]
    if found is None:
        yield unknown("not known before the first ANALYZE of account", ANALYZE)
    else:
        yield judged(found > 0, f"about {found:,} accounts; the checklist expects about 1,000,000")


@CHECKS.add_direct(
    "snapshot", "Is there a snapshot of the tables that the deployment changes?",
    cure="leads golive deploy --until snapshot", runbook="docs/runbook/go-live.md#the-deployment",
)  # fmt: skip
def ask_snapshot(services: Services) -> Iterator[Finding]:
    """Take the newest one of `leads golive deploy` that is there unchanged."""
    from ops.golive.deploy.steps import newest_snapshot

    found = newest_snapshot(services.folder)
    if found is None:
        yield unknown("there is no snapshot", is_present=False)
        return
    age = (found.used_at or datetime.now(UTC)) - found.at
    old = "was {:.1f} h old when the first step began" if found.used_at else "is {:.1f} h old"
    text = f"{found.path} {old.format(age / timedelta(hours=1))}; at most 24 h"
    yield judged(age <= MAX_SNAPSHOT_AGE, text)


@CHECKS.add_direct(
    "lookups", "Do the lookups of a lead use their indexes?", needs="database", fine="all use an index",
    cure=ANALYZE,
    runbook="docs/performance.md#plans-and-statistics",
)  # fmt: skip
def ask_lookups(services: Services) -> Iterator[Finding]:
    """Name the lookups of a lead whose plan reads a whole table.

    A small table may be read whole; there it is enough that the index can be used.
    """
    for name, params in LOOKUPS.items():
        with services.database() as db, db.transaction(force_rollback=True):
            relation = _scanned(_plan(db, name, params))
            if relation and _rows(db, relation) < SMALL_TABLE_ROWS:
                db.execute("SET LOCAL enable_seqscan = off")
                relation = _scanned(_plan(db, name, params))
        if relation:
            yield red(f"{name.partition('/')[2]} reads all of {relation}")


def _plan(db: DbSession, name: str, params: Mapping[str, object]) -> dict[str, Any]:
    (row,) = db.execute(b"EXPLAIN (FORMAT JSON) " + QUERIES[name], params).fetchall()
    return dict(row["QUERY PLAN"][0]["Plan"])


def _rows(db: DbSession, relation: str) -> float:
    row = db.execute(
        "SELECT reltuples FROM pg_catalog.pg_class WHERE oid = to_regclass(%s)", [f"public.{relation}"]
    ).fetchone()
    return float(row["reltuples"]) if row else 0.0


def _scanned(plan: Mapping[str, Any]) -> str | None:
    if plan["Node Type"] in ("Seq Scan", "Parallel Seq Scan"):
        return str(plan["Relation Name"])
    return next((found for each in plan.get("Plans", []) if (found := _scanned(each))), None)
