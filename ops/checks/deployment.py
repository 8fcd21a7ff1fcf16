"""What is asked of the steps of the deployment: what each left, and what they need of Diva's database."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ops.checks.database import run_sql
from ops.checks.leads import since
from ops.checks.model import Checks, Facts, Finding, Level, Params, Reader, When, judged
from ops.checks.services import Services
from ops.checks.wording import first, times
from ops.clients.db_session import QUERIES, DbSession
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


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens the pilot: the row of golive/load_opening, and the switches with who turned them."""

    row: Mapping[str, Any]
    switches: list[Switch]


@dataclass(frozen=True, slots=True)
class Phones:
    """How many accounts the backfill has filled, and how many usable phones it has left."""

    filled: int
    left: int


def one_row(name: str) -> Reader[Mapping[str, Any]]:
    """Return a reader of the only row of a statement."""

    def read(services: Services) -> Mapping[str, Any]:
        with services.database() as db:
            row = db.execute(QUERIES[name]).fetchone()
        assert row is not None
        return row

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
        yield Finding(Level.RED, f"nothing is known of migration …{wanted}", is_present=False)
    for name, row in rows.items():
        missing = row["missing"]
        is_present = len(missing) < row["expected"]
        if wanted in (None, name) and missing and (wanted or is_present):
            text = f"of migration …{name} is missing: {first(missing)}"
            yield Finding(Level.RED, text, about=name, is_present=is_present)


def read_phones(services: Services) -> Phones:
    """Read the phones of the accounts without a normalized one, as the backfill does."""
    from leads.domain.phone import normalize
    from ops.daily.backfill_phones import count_accounts, read_batches

    with services.database() as db:
        left = sum(
            normalize(account.phone_number, account.phone_code)[0] is not None
            for batch in read_batches(db, 10_000)
            for account in batch
        )
        return Phones(count_accounts(db)["normalized"], left)


@CHECKS.add(
    "backfill", "Has every account with a usable phone its normalized one?", When.CRITERION, read_migrations,
    read_phones, needs="database", cure="leads backfill-phones",
    runbook="docs/runbook/install.md#10-phones-of-the-accounts", login="owner", seconds=600.0,
)  # fmt: skip
def ask_backfill(facts: Facts, params: Params) -> Iterator[Finding]:
    migrations = facts.get(read_migrations)
    if "column account.normalized_phone" in migrations["928"]["missing"]:
        text = "account has no column normalized_phone yet"
        yield Finding(Level.RED, text, is_present=False)
        return
    phones = facts.get(read_phones)
    if migrations["929"]["missing"]:
        text = f"no index; {phones.filled} accounts are filled"
        yield Finding(Level.RED, text, is_present=bool(phones.filled))
    elif phones.left:
        yield Finding(
            Level.RED, f"{times(phones.left, 'account')} with a usable phone that is not normalized"
        )
    else:
        yield Finding(Level.GREEN, f"{phones.filled} accounts are filled, no usable phone is left")


@CHECKS.add_direct(
    "ticket-source", "Is the ticket source Pancake there?", needs="database",
    cure="hasura migrate apply --database-name default", login="owner",
    runbook="docs/runbook/rollback.md#932-tickets-refer-to-the-source",
)  # fmt: skip
def ask_ticket_source(services: Services) -> Iterator[Finding]:
    """A disabled source is what the soft way back leaves, as long as tickets refer to it."""
    row = one_row("golive/load_ticket_source")(services)
    if not row["is_there"]:
        yield Finding(Level.RED, "there is no ticket source Pancake", is_present=False)
    elif row["is_disabled"]:
        text = f"it is disabled; {row['tickets']} tickets refer to it"
        yield Finding(Level.RED, text, is_present=False)
    else:
        yield Finding(Level.GREEN, f"it is there; {row['tickets']} tickets refer to it")


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
        yield Finding(Level.RED, "there is no connection that is not disabled", is_present=False)
    for row in active:
        if not row["has_key"]:
            text, cure = f"connection {row['name']} has no API key", "leads connection set-api-key"
            yield Finding(Level.RED, text, cure, row["name"])
        elif not row["is_delivered"]:
            text = f"nothing was delivered yet to connection {row['name']}"
            yield Finding(Level.RED, text, about=row["name"])
        else:
            yield Finding(Level.GREEN, f"the webhook delivers to {row['name']}", about=row["name"])


def read_opening(services: Services) -> Opening:
    """Return what opens the pilot."""
    with services.database() as db:
        row = db.execute(QUERIES["golive/load_opening"]).fetchone()
        assert row is not None
        return Opening(row, list_switches(db))


@CHECKS.add(
    "before-opening", "Does the kill switch hold the leads until the pilot starts?", When.CRITERION,
    read_opening, needs="database", fine="leads are held", cure="leads switch kill on --reason TEXT",
    runbook="docs/runbook/go-live.md#sources-and-switches",
)  # fmt: skip
def ask_before_opening(facts: Facts, params: Params) -> Iterator[Finding]:
    """Before the pilot the kill switch holds all leads, and at most one source is active."""
    found = facts.get(read_opening)
    active = list(found.row["active"])
    if not found.row["is_held"]:
        yield Finding(Level.RED, "the kill switch is off", "leads switch kill on --reason TEXT")
    if len(active) > 1:
        text = f"{len(active)} sources are active: {first(active)}"
        yield Finding(Level.RED, text, "leads switch source NAME off --reason TEXT")
    yield from _paused(facts)


@CHECKS.add(
    "opening", "Is the pilot open, for one source?", When.CRITERION, read_opening, needs="database",
    cure="leads switch kill off --reason TEXT", runbook="docs/runbook/go-live.md#sources-and-switches",
)  # fmt: skip
def ask_opening(facts: Facts, params: Params) -> Iterator[Finding]:
    """Nothing holds leads, and one source is active; as a `step` also a lead has become a ticket."""
    found = facts.get(read_opening)
    row, active = found.row, list(found.row["active"])
    for switch in found.switches:
        if switch.kind == "kill" and row["is_held"]:
            text = f"the kill switch is on {since(switch)}: leads are held"
            yield Finding(Level.RED, text, is_present=bool(active))
    yield from _paused(facts)
    if len(active) != 1:
        text = f"exactly one source has to be active, and {len(active)} are"
        yield Finding(Level.RED, text, "leads switch source NAME on --reason TEXT")
    elif "step" in params and not row["members"]:
        text = "no roster has a member: tickets would have no owner"
        yield Finding(Level.RED, text, "Settings → Pancake → Rosters: add members, then: leads status")
    elif "step" in params and not row["is_processed"]:
        yield Finding(Level.RED, "open, and no lead has become a ticket yet", "leads tail")
    else:
        yield Finding(Level.GREEN, f"open for {active[0]}")


def _paused(facts: Facts) -> Iterator[Finding]:
    """A pause is red here, also if all else is green: the next step would wait for ever."""
    found = facts.get(read_opening)
    for switch in found.switches:
        if switch.kind == "pause" and found.row["is_paused"]:
            text = f"processing is paused {since(switch)}: leads wait"
            yield Finding(Level.RED, text, "leads switch pause off --reason TEXT")


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
        yield Finding(Level.UNKNOWN, "not known before the first ANALYZE of account", ANALYZE)
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
        yield Finding(Level.UNKNOWN, "there is no snapshot", is_present=False)
        return
    age = datetime.now(UTC) - found.at
    text = f"{found.path} is {age.total_seconds() / 3600:.1f} h old; at most 24 h"
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
            yield Finding(Level.RED, f"{name.partition('/')[2]} reads all of {relation}")


def _plan(db: DbSession, name: str, params: Mapping[str, object]) -> dict[str, Any]:
    row = db.execute(b"EXPLAIN (FORMAT JSON) " + QUERIES[name], params).fetchone()
    assert row is not None
    plan: dict[str, Any] = row["QUERY PLAN"][0]["Plan"]
    return plan


def _rows(db: DbSession, relation: str) -> float:
    row = db.execute(
        "SELECT reltuples FROM pg_catalog.pg_class WHERE oid = to_regclass(%s)", [f"public.{relation}"]
    ).fetchone()
    return float(row["reltuples"]) if row else 0.0


def _scanned(plan: Mapping[str, Any]) -> str | None:
    """Return a table that the plan reads whole."""
    if plan["Node Type"] in ("Seq Scan", "Parallel Seq Scan"):
        return str(plan["Relation Name"])
    return next((found for each in plan.get("Plans", []) if (found := _scanned(each))), None)
