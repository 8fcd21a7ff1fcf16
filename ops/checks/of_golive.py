"""What is asked before, at and after the go-live: what each step left, and what the services are set to."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from leads.services.redelivery import MAX_WAITING
from ops.checks.model import Facts, Finding, Level, Params, judged
from ops.checks.of_engine import first, numbers_of
from ops.checks.of_leads import since
from ops.checks.read_engine import read_metadata, read_role_faults, read_version
from ops.checks.read_golive import (
    read_alerts,
    read_certificate,
    read_deliveries,
    read_diva_columns,
    read_diva_migration,
    read_diva_sources,
    read_manifest,
    read_migrations,
    read_opening,
    read_packages,
    read_phones,
    read_plan,
    read_public_answer,
    read_retention,
    read_rights,
    read_scanned_tables,
    read_size,
    read_snapshot,
    read_staging,
    read_ticket_source,
)
from ops.metadata.pieces import CRON

OUR_NIGHTLY_MINUTE = 19 * 60
"""02:00 in Vietnam, by the clock of the engine, which is UTC."""
NEAR_MINUTES = 15
DEFAULT_POOL, DEFAULT_SHUTDOWN_SECONDS, DEFAULT_CONNECTIONS = 100.0, 60.0, 50.0
LEAKING_LOGS = {"http-log", "websocket-log", "query-log", "action-handler-log", "http-response-log"}
DEFAULT_LOG_TYPES = "startup,http-log,webhook-log,websocket-log,jwk-refresh-log"
REDACTIONS = ("EVENT_TRIGGER", "SCHEDULED_TRIGGER", "ACTION_HANDLER")
CONNECTIONS_OF_HANDLERS = 10
MAX_CONNECTION_SHARE, MAX_WAITING_SHARE, MIN_STOP_FACTOR = 0.8, 0.5, 3.0
MIN_CERTIFICATE_DAYS, MIN_RETENTION_DAYS, MIN_POSTGRESQL = 14, 45, 15
MAX_ACCOUNTS = 2_000_000
DIVA_SOURCES, DIVA_MIGRATION = 8, 1777870069927
MAX_SNAPSHOT_AGE = timedelta(hours=24)
HEALTHY = "ok"


def ask_migrations(facts: Facts, params: Params) -> Iterator[Finding]:
    """Say what of a `migration` is missing; without one, which migration is half done."""
    rows = facts.get(read_migrations)
    wanted = params.get("migration")
    for name, row in rows.items():
        missing = row["missing"]
        is_present = len(missing) < row["expected"]
        if wanted in (None, name) and missing and (wanted or is_present):
            text = f"of migration …{name} is missing: {first(missing)}"
            yield Finding(Level.RED, text, about=name, is_present=is_present)


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
        yield Finding(Level.RED, f"{phones.left} accounts have a usable phone that is not normalized")
    else:
        yield Finding(Level.GREEN, f"{phones.filled} accounts are filled, no usable phone is left")


def ask_ticket_source(facts: Facts, params: Params) -> Iterator[Finding]:
    """A disabled source is what the soft way back leaves, as long as tickets refer to it."""
    row = facts.get(read_ticket_source)
    if not row["is_there"]:
        yield Finding(Level.RED, "there is no ticket source Pancake", is_present=False)
    elif row["is_disabled"]:
        text = f"it is disabled; {row['tickets']} tickets refer to it"
        yield Finding(Level.RED, text, is_present=False)
    else:
        yield Finding(Level.GREEN, f"it is there; {row['tickets']} tickets refer to it")


def ask_rights(facts: Facts, params: Params) -> Iterator[Finding]:
    row = facts.get(read_rights)
    for text, found in (("missing", row["missing"]), ("too much", row["further"])):
        if found:
            yield Finding(Level.RED, f"{text}: {first(found)}", is_present=bool(row["granted"]))


def ask_deliveries(facts: Facts, params: Params) -> Iterator[Finding]:
    active = [row for row in facts.get(read_deliveries) if not row["is_disabled"]]
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
    """A pause is red here, whatever is green beside it: the next step would wait for ever."""
    found = facts.get(read_opening)
    for switch in found.switches:
        if switch.kind == "pause" and found.row["is_paused"]:
            text = f"processing is paused {since(switch)}: leads wait"
            yield Finding(Level.RED, text, "leads switch pause off --reason TEXT")


def ask_diva_columns(facts: Facts, params: Params) -> Iterator[Finding]:
    row = facts.get(read_diva_columns)
    if row["missing"]:
        yield Finding(Level.RED, f"{row['missing']} of {row['expected']} are missing: {row['details']}")


def ask_diva_sources(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_diva_sources)["of_diva"]
    if found < DIVA_SOURCES:
        yield Finding(Level.RED, f"{found} ticket sources of Diva; {DIVA_SOURCES} are needed")


def ask_diva_migration(facts: Facts, params: Params) -> Iterator[Finding]:
    newest = facts.get(read_diva_migration)["newest"]
    if newest != DIVA_MIGRATION:
        yield Finding(Level.RED, f"Diva's newest migration is {newest}, not {DIVA_MIGRATION}")


def ask_postgresql(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_size)["version"]
    yield judged(found >= MIN_POSTGRESQL, f"PostgreSQL {found}; {MIN_POSTGRESQL} or later is needed")


def ask_accounts(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_size)["accounts"]
    if found is None:
        yield Finding(Level.UNKNOWN, "not known before the first ANALYZE of account", "psql: ANALYZE account")
    else:
        yield judged(
            found <= MAX_ACCOUNTS, f"about {found:,} accounts; at most {MAX_ACCOUNTS:,} were measured"
        )


def ask_connections(facts: Facts, params: Params) -> Iterator[Finding]:
    manifest, most = facts.get(read_manifest), facts.get(read_size)["max_connections"]
    engine = manifest.number("PG_CONNECTIONS", DEFAULT_CONNECTIONS) * manifest.replicas
    handlers = CONNECTIONS_OF_HANDLERS * facts.get(read_plan).handler_processes
    share = (engine + handlers) / most
    text = f"{engine:.0f} of the engine and {handlers} of the handlers are {share:.0%} of {most}"
    yield judged(share <= MAX_CONNECTION_SHARE, f"{text}; at most {MAX_CONNECTION_SHARE:.0%}")


def ask_snapshot(facts: Facts, params: Params) -> Iterator[Finding]:
    found = facts.get(read_snapshot)
    if found is None:
        yield Finding(Level.UNKNOWN, "there is no snapshot", is_present=False)
        return
    path, at = found
    age = datetime.now(UTC) - at
    yield judged(age <= MAX_SNAPSHOT_AGE, f"{path} is {age.total_seconds() / 3600:.1f} h old; at most 24 h")


def ask_lookups(facts: Facts, params: Params) -> Iterator[Finding]:
    for text in facts.get(read_scanned_tables):
        yield Finding(Level.RED, text)


def ask_downgrade(facts: Facts, params: Params) -> Iterator[Finding]:
    """An engine that is older than the one that ran refuses the catalog of the newer."""
    running, wanted = facts.get(read_version).version, facts.get(read_manifest).image
    if not wanted:
        yield Finding(Level.UNKNOWN, "the image of the manifest has no version as its tag")
    elif numbers_of(wanted) < numbers_of(running):
        yield Finding(Level.RED, f"{running} runs, and the manifest has {wanted}, which is older")
    else:
        yield Finding(Level.GREEN, f"{running} runs, the manifest has {wanted}")


def ask_event_pool(facts: Facts, params: Params) -> Iterator[Finding]:
    manifest, plan = facts.get(read_manifest), facts.get(read_plan)
    pool = manifest.number("EVENTS_HTTP_POOL_SIZE", DEFAULT_POOL) * manifest.replicas
    waiting = MAX_WAITING * plan.handler_processes
    text = f"{waiting} of {pool:.0f} deliveries at a time may be repeated ones"
    yield judged(waiting / pool <= MAX_WAITING_SHARE, f"{text}; at most {MAX_WAITING_SHARE:.0%}")


def ask_engine_stop(facts: Facts, params: Params) -> Iterator[Finding]:
    manifest = facts.get(read_manifest)
    timeout = manifest.number("GRACEFUL_SHUTDOWN_TIMEOUT", DEFAULT_SHUTDOWN_SECONDS)
    grace = manifest.grace_seconds
    text = f"it gets {grace:.0f} s to stop, its time-out is {timeout:.0f} s"
    is_enough = timeout > 0 and grace / timeout >= MIN_STOP_FACTOR
    yield judged(is_enough, f"{text}; {MIN_STOP_FACTOR:.0f} time-outs are needed")


def ask_engine_logs(facts: Facts, params: Params) -> Iterator[Finding]:
    variables = facts.get(read_manifest).environment
    types = variables.get("HASURA_GRAPHQL_ENABLED_LOG_TYPES") or DEFAULT_LOG_TYPES
    for name in map(str.strip, types.split(",")):
        if name in LEAKING_LOGS:
            yield Finding(Level.RED, f"{name} is on")
    for name in REDACTIONS:
        variable = f"HASURA_GRAPHQL_REDACT_{name}_LOGS"
        if variables.get(variable, "").lower() != "true":
            yield Finding(Level.RED, f"{variable} is not true")
    if variables.get("HASURA_GRAPHQL_DEV_MODE", "").lower() == "true":
        yield Finding(Level.RED, "HASURA_GRAPHQL_DEV_MODE is true")


def ask_night_crons(facts: Facts, params: Params) -> Iterator[Finding]:
    metadata = facts.get(read_metadata)
    own = {name for kind, name in metadata.wanted("9b") if kind == CRON}
    for each in metadata.whole.get("cron_triggers", []):
        if each["name"] not in own and is_near(str(each["schedule"])):
            yield Finding(Level.RED, f"{each['name']} ({each['schedule']})", about=each["name"])


def is_near(schedule: str) -> bool:
    """Whether a schedule is due near that minute on some day; one of every hour is no nightly batch."""
    minute, hour, *_ = [*schedule.split(), "*", "*"]
    hours = _expand(hour, 24)
    if len(hours) == 24:
        return False
    due = {each * 60 + minutes for each in hours for minutes in _expand(minute, 60)}
    distances = (abs(each - OUR_NIGHTLY_MINUTE) for each in due)
    return any(min(distance, 24 * 60 - distance) <= NEAR_MINUTES for distance in distances)


def _expand(field: str, end: int) -> set[int]:
    """Return the numbers below `end` that a field of a cron schedule names: lists, ranges and steps."""
    found: set[int] = set()
    for part in field.split(","):
        numbers, _, step = part.partition("/")
        low, is_range, high = ("0", "-", str(end - 1)) if numbers == "*" else numbers.partition("-")
        if not is_range:
            high = str(end - 1) if step else low
        found.update(range(int(low), int(high) + 1, int(step or 1)))
    return found


def ask_roles(facts: Facts, params: Params) -> Iterator[Finding]:
    for text in facts.get(read_role_faults):
        yield Finding(Level.RED, text)


def ask_staging(facts: Facts, params: Params) -> Iterator[Finding]:
    if found := facts.get(read_staging):
        yield Finding(Level.RED, f"{len(found)} pieces differ: {first(found)}")


def ask_public_url(facts: Facts, params: Params) -> Iterator[Finding]:
    status, told = facts.get(read_public_answer)
    is_edge = status == 200 and told == "unknown_token"
    yield Finding(Level.GREEN if is_edge else Level.RED, f"it answers {status}, {told}")


def ask_certificate(facts: Facts, params: Params) -> Iterator[Finding]:
    days, fault = facts.get(read_certificate)
    text = fault or f"it ends in {days:.0f} days; {MIN_CERTIFICATE_DAYS} are needed"
    yield judged(days >= MIN_CERTIFICATE_DAYS, text)


def ask_alerts(facts: Facts, params: Params) -> Iterator[Finding]:
    """Name those of `alerts` that Prometheus has not loaded, or cannot evaluate."""
    loaded = facts.get(read_alerts)
    for name in params["alerts"].split():
        if (state := loaded.get(name, "missing")) != HEALTHY:
            yield Finding(Level.RED, f"{name}: {state}", about=name)


def ask_retention(facts: Facts, params: Params) -> Iterator[Finding]:
    days = facts.get(read_retention)
    if days is None:
        yield Finding(Level.UNKNOWN, "Prometheus names no time of retention")
        return
    yield judged(days >= MIN_RETENTION_DAYS, f"it keeps {days:g} days; {MIN_RETENTION_DAYS} are needed")


def ask_package(facts: Facts, params: Params) -> Iterator[Finding]:
    """Say whether a `package` is installed."""
    found = facts.get(read_packages)[params["package"]]
    yield (
        Finding(Level.GREEN, found) if found else Finding(Level.RED, f"{params['package']} is not installed")
    )
