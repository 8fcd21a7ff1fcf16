"""The table of checks, in the order in which one part needs another.

docs/extending.md says how to add one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from leads.domain.trace import END_PAUSE
from ops.checks import of_engine, of_golive, of_leads, of_services, read_golive
from ops.checks.model import LOOK_SECONDS, Asked, Check, Facts, Level, Params, Reader, Result, When, look
from ops.checks.read_database import read_blocker, read_lock_wait, read_server, read_state
from ops.checks.read_engine import (
    read_catalog,
    read_clock,
    read_configuration,
    read_inconsistencies,
    read_metadata,
    read_missing_variables,
    read_refused_insert,
    read_role_faults,
    read_schedule,
    read_sql_triggers,
    read_version,
)
from ops.checks.read_services import read_edge, read_handlers, read_keys, read_secret, read_token
from ops.checks.services import Services

STATUS, DOCTOR, APPLY, VERIFY, PRECHECK = When
BOTH = {STATUS, DOCTOR}
CRITERION: set[When] = set()
"""Asked by criteria of the go-live, and by steps of the deployment, which name it by its id."""
OWNER = "owner"
ASK_DIVA = (
    "It differs from docs/diva-contract.md: ask Diva's developers; then: leads golive precheck database"
)

CHECKS = (
    Check(
        "environment", "Are the variables of the environment set?", {DOCTOR},
        reads=(), ask=of_services.find_unset, fine="the variables that are needed are set",
        cure="leads config show", runbook="docs/runbook/install.md",
    ),
    Check(
        "database", "Does the database answer?", BOTH,
        reads=(read_server,), ask=of_services.ask_database, needs=("environment",),
        cure=of_services.CHECK_URL, runbook="docs/runbook/monitoring.md#pancakesqlmetricsstale",
    ),
    Check(
        "tables", "Are our tables there, and can they be read?", BOTH,
        reads=(read_server, read_state, read_blocker), ask=of_services.ask_tables, needs=("database",),
        fine="all are there, and can be read", cure=of_services.MIGRATE,
        runbook="docs/runbook/install.md#4-migrations",
    ),
    Check(
        "locks", "Does no session wait for a lock for 2 s?", BOTH,
        reads=(read_lock_wait,), ask=of_services.ask_locks, needs=("database",),
        fine="no session waits for a lock", cure=of_services.SHOW_ACTIVITY,
        runbook="docs/runbook/go-live.md#connections-locks-memory",
    ),
    Check(
        "hasura", "Does Hasura answer?", BOTH,
        away=Level.RED, refused=of_engine.CHECK_ADMIN,
        reads=(read_version,), ask=of_engine.ask_engine, needs=("environment",),
        cure=of_engine.CHECK_ENGINE, runbook="docs/runbook/crons-and-engine.md#pancakecronmissed",
    ),
    Check(
        "engine-version", "Is Hasura of a version that was tried with us?", BOTH | {APPLY},
        reads=(read_version,), ask=of_engine.ask_version, needs=("hasura",), fine="one that was tried",
        cure="Start the engine that docs/runbook/install.md names: docker compose up -d hasura",
        runbook="docs/runbook/go-live.md#the-engine",
    ),
    Check(
        "metadata-read", "Does Hasura give its metadata, and has it the source of our tables?",
        BOTH | {APPLY, VERIFY}, away=Level.RED, refused=of_engine.CHECK_ADMIN,
        reads=(read_metadata,), ask=of_engine.ask_readable, needs=("hasura",),
        fine="it has the source", cure="Apply Diva's metadata, then: leads metadata recover",
        runbook="docs/runbook/metadata.md",
    ),
    Check(
        "naming", "Does the source name things as our stored queries do?", {DOCTOR, APPLY, PRECHECK},
        reads=(read_metadata, read_configuration), ask=of_engine.ask_naming, needs=("metadata-read",),
        fine="as our stored queries need it",
        cure="Change the source's customization in Diva's metadata, then: leads metadata 9a",
        runbook="docs/runbook/metadata.md#on-a-shared-engine", area="metadata",
    ),
    Check(
        "catalog", "Are Hasura's tables in the source new enough?", {DOCTOR, APPLY},
        reads=(read_catalog,), ask=of_engine.ask_catalog, needs=("metadata-read",), fine="new enough",
        cure="Start the source once with the engine that docs/runbook/install.md names: "
        "docker compose up -d hasura",
        runbook="docs/runbook/go-live.md#the-engine",
    ),
    Check(
        "variables", "Has the engine the variables of our metadata?", {DOCTOR, APPLY, PRECHECK},
        reads=(read_missing_variables,), ask=of_engine.ask_variables, needs=("metadata-read",),
        fine="the engine has those of our metadata",
        cure="Set it as docs/runbook/install.md, step 3, lists it, then: docker compose up -d hasura",
        runbook="docs/runbook/install.md#3-the-engines-environment", area="engine",
    ),
    Check(
        "store-lead", "May the handlers store a lead, through Hasura's trigger?", {DOCTOR, APPLY},
        reads=(read_refused_insert,), ask=of_engine.ask_insert, needs=("metadata-read",),
        fine="the handlers may store a lead", writes=True,
        cure="Apply the migrations, then as the owner: psql -f deploy/postgres/grant_roles.sql",
        runbook="docs/runbook/install.md#4-migrations",
    ),
    Check(
        "diva-action", "Is Diva's action sendNotifications there?", BOTH | {APPLY, VERIFY, PRECHECK},
        reads=(read_metadata,), ask=of_engine.ask_diva_action, needs=("metadata-read",),
        fine="sendNotifications can be allowed to the handlers",
        cure="Apply Diva's metadata, then: leads metadata recover", area="metadata",
        runbook="docs/runbook/metadata.md#pancakenotificationsforbidden",
    ),
    Check(
        "metadata", "Are all pieces of our metadata on the engine?", {STATUS, VERIFY},
        reads=(read_metadata,), ask=of_engine.ask_pieces, needs=("metadata-read",), cure=of_engine.RECOVER,
        runbook="docs/runbook/metadata.md#bring-it-back",
    ),
    Check(
        "event-trigger", "Has PostgreSQL the SQL triggers of our event trigger?", BOTH | {APPLY, VERIFY},
        reads=(read_metadata, read_sql_triggers), ask=of_engine.ask_event_trigger, needs=("metadata",),
        fine="its SQL triggers are there", cure=of_engine.RECOVER,
        runbook="docs/runbook/metadata.md#pancakeeventtriggermissing",
    ),
    Check(
        "drift", "Are our pieces on the engine as in our directory?", {STATUS, VERIFY},
        reads=(read_metadata,), ask=of_engine.ask_drift, needs=("metadata-read", "event-trigger"),
        fine="all as in our directory", cure=of_engine.UNDO.format("9a"),
        runbook="docs/runbook/metadata.md#on-a-shared-engine",
    ),
    Check(
        "allow-list", "Does no allow list stop our calls?", BOTH | {APPLY, VERIFY},
        reads=(read_metadata, read_configuration), ask=of_engine.ask_allow_list, needs=("metadata",),
        fine="on, with our calls", cure="leads metadata 9a",
        runbook="docs/runbook/metadata.md#pancakeallowliststopsus",
    ),
    Check(
        "consistency", "Is nothing of the engine's metadata inconsistent?", {STATUS, VERIFY},
        reads=(read_inconsistencies,), ask=of_engine.ask_consistency, needs=("metadata-read",),
        fine="nothing is inconsistent",
        cure="Mend what it names, or ask its owner, then: leads metadata verify",
        runbook="docs/runbook/metadata.md#pancakemetadatainconsistent",
    ),
    Check(
        "schedule", "Has Hasura future runs of our crons?", {STATUS, VERIFY},
        reads=(read_schedule,), ask=of_engine.ask_schedule, needs=("metadata",), cure=of_engine.RECOVER,
        runbook="docs/runbook/crons-and-engine.md#pancakecronticksgone",
    ),
    Check(
        "notifications", "May the handlers call sendNotifications?", {STATUS, VERIFY},
        reads=(read_metadata,), ask=of_engine.ask_permission, needs=("diva-action", "metadata"),
        fine="allowed to the handlers", cure=of_engine.RECOVER,
        runbook="docs/runbook/metadata.md#pancakenotificationsforbidden",
    ),
    Check(
        "token", "Does Hasura accept the token of the handlers?", {DOCTOR},
        reads=(read_token,), ask=of_services.ask_token, needs=("hasura",), cure=of_services.RENEW,
        runbook="docs/runbook/install.md#2-tokens",
    ),
    Check(
        "handlers", "Do the handlers answer?", BOTH,
        away=Level.RED,
        reads=(read_handlers,), ask=of_services.ask_handlers, cure=of_services.START_HANDLERS,
        runbook="docs/runbook/monitoring.md#pancakehandlersdown",
    ),
    Check(
        "readiness", "Do the handlers reach what they need?", BOTH,
        reads=(read_handlers,), ask=of_services.ask_readiness,
        needs=("handlers", "database", "notifications"), fine="they reach what they need",
        cure=of_services.CHECK_HANDLERS, runbook="docs/runbook/monitoring.md#pancakehandlerdown",
    ),
    Check(
        "secret", "Do the handlers accept HANDLER_SECRET?", {DOCTOR},
        reads=(read_secret,), ask=of_services.ask_secret, needs=("handlers",),
        fine="the handlers accept HANDLER_SECRET",
        cure="Give Hasura, the handlers and leads the same HANDLER_SECRET: leads config show",
        runbook="docs/runbook/install.md#1-secrets",
    ),
    Check(
        "edge", "Does the edge answer, and can it write its spool?", BOTH,
        away=Level.RED,
        reads=(read_edge,), ask=of_services.ask_edge, cure=of_services.START_EDGE,
        runbook="docs/runbook/edge.md#pancakeedgedown",
    ),
    Check(
        "spool", "Does the edge hand over what it gets?", BOTH,
        reads=(read_edge,), ask=of_services.ask_spool, needs=("edge", "hasura", "handlers"),
        fine="nothing waits on its disk", cure="leads edge-spool list",
        runbook="docs/runbook/edge.md#pancakeedgespoolstuck",
    ),
    Check(
        "clocks", "Do the clocks of the machines agree?", {DOCTOR},
        reads=(read_server, read_clock, read_handlers, read_edge), ask=of_services.ask_clocks,
        cure="Synchronize that machine's clock: timedatectl set-ntp true", runbook="docs/runbook/install.md",
    ),
    Check(
        "kill-switch", "Is the kill switch off?", {STATUS},
        reads=(read_state,), ask=of_leads.ask_kill_switch, needs=("tables",), cure=of_leads.REPLAY_HELD,
        runbook="docs/runbook/tickets-and-switches.md#pancakeswitchlefton",
    ),
    Check(
        "pause", "Is processing not paused?", {STATUS},
        reads=(read_state,), ask=of_leads.ask_pause, needs=("tables",), cure=END_PAUSE,
        runbook="docs/runbook/tickets-and-switches.md#pancakeswitchlefton",
    ),
    Check(
        "connection", "Is there a connection to Pancake that is enabled?", BOTH,
        reads=(read_state,), ask=of_leads.ask_connection, needs=("tables",),
        cure=of_leads.CREATE_CONNECTION, runbook="docs/runbook/install.md#7-the-connection-to-pancake",
    ),
    Check(
        "edge-policy", "Has the edge a policy of the handlers?", BOTH,
        reads=(read_edge,), ask=of_services.ask_policy, needs=("edge", "handlers"), fine="it has one",
        cure=of_services.CHECK_POLICY, runbook="docs/runbook/edge.md#pancakeedgepolicystale",
    ),
    Check(
        "edge-tokens", "Has the edge the tokens of the connections?", BOTH,
        reads=(read_edge,), ask=of_services.ask_tokens, needs=("edge", "edge-policy", "connection"),
        cure=of_services.CHECK_POLICY, runbook="docs/runbook/edge.md#pancakeedgepolicystale",
    ),
    Check(
        "api-key", "Does Pancake accept the API key of each connection?", BOTH,
        reads=(read_keys,), ask=of_leads.ask_keys, needs=("tables", "connection"), cure=of_leads.TEST_KEY,
        fine="no connection is in use", runbook="docs/runbook/webhook-and-pancake.md#pancakeapikeyinvalid",
    ),
    Check(
        "webhook", "Does the webhook of each connection bring its leads?", {STATUS},
        reads=(read_state, read_keys), ask=of_leads.ask_webhook, needs=("tables", "connection", "api-key"),
        fine="no connection is in use", cure=of_leads.SWITCH_ON_WEBHOOK,
        runbook="docs/runbook/webhook-and-pancake.md#pancakewebhooksuspended",
    ),
    Check(
        "breaker", "Do the handlers call Pancake?", {STATUS},
        reads=(read_handlers,), ask=of_leads.ask_breaker, needs=("handlers", "api-key"),
        fine="calls to Pancake are not suspended", cure=of_leads.TEST_KEY,
        runbook="docs/runbook/webhook-and-pancake.md#pancakecircuitbreakeropenlong",
    ),
    Check(
        "sources", "Is a source active?", {STATUS},
        reads=(read_state,), ask=of_leads.ask_sources, needs=("tables", "connection"),
        fine="there is no source yet", cure=of_leads.SOURCE_ON,
        runbook="docs/runbook/install.md#11-a-source-and-its-roster",
    ),
    Check(
        "rosters", "Is there a member for new tickets?", {STATUS},
        reads=(read_state,), ask=of_leads.ask_rosters, needs=("tables", "connection", "sources"),
        cure="Settings → Pancake → Rosters: add members; who took them out: leads history --of roster",
        runbook="docs/runbook/tickets-and-switches.md#pancakeunassignedwaits",
    ),
    Check(
        "crons", "Have the crons run in time?", {STATUS},
        reads=(read_state,), ask=of_leads.ask_crons, is_symptom=True, cure="leads cron list",
        needs=("tables", "hasura", "metadata", "schedule", "handlers", "api-key"),
        runbook="docs/runbook/crons-and-engine.md#pancakecronmissed",
    ),
    Check(
        "queue", "Are stored leads processed?", {STATUS},
        reads=(read_state,), ask=of_leads.ask_queue, is_symptom=True, cure="leads cron run retry_failed",
        needs=("tables", "hasura", "event-trigger", "handlers", "crons"),
        runbook="docs/runbook/leads-late-or-failed.md#pancakeleadwaits",
    ),
    Check(
        "unassigned", "Has every open ticket an owner?", {STATUS},
        reads=(read_state,), ask=of_leads.ask_unassigned, is_symptom=True, needs=("tables", "rosters"),
        fine="every open ticket has an owner",
        cure="Put staff on duty: each gets one within a minute; then: leads status",
        runbook="docs/runbook/tickets-and-switches.md#pancakeunassignedwaits",
    ),
    Check(
        "unsent", "Was every notification accepted?", {STATUS},
        reads=(read_state,), ask=of_leads.ask_unsent, is_symptom=True,
        needs=("tables", "hasura", "notifications", "handlers"), fine="every notification was accepted",
        cure="psql: SELECT id, notify_error FROM pancake_webhook_event WHERE notify_error IS NOT NULL",
        runbook="docs/runbook/tickets-and-switches.md#notifications-that-were-given-up",
    ),
    Check(
        "tickets", "Do leads become tickets, as many as usual?", {STATUS},
        reads=(read_state,), ask=of_leads.ask_tickets, is_symptom=True, cure="leads tail",
        needs=(
            "tables", "hasura", "event-trigger", "handlers", "edge", "edge-tokens", "kill-switch",
            "connection", "api-key", "webhook", "sources", "queue",
        ),
        runbook="docs/runbook/tickets-and-switches.md#tickets-have-stopped",
    ),
    Check(
        "migrations", "Has the database what each migration creates?", CRITERION,
        reads=(read_golive.read_migrations,), ask=of_golive.ask_migrations, needs=("database",),
        fine="all of it is there", cure="hasura migrate apply --database-name default", login=OWNER,
        runbook="docs/runbook/install.md#4-migrations",
    ),
    Check(
        "backfill", "Has every account with a usable phone its normalized one?", CRITERION,
        reads=(read_golive.read_migrations, read_golive.read_phones), ask=of_golive.ask_backfill,
        needs=("database",), cure="leads backfill-phones", login=OWNER,
        runbook="docs/runbook/install.md#10-phones-of-the-accounts", seconds=600.0,
    ),
    Check(
        "ticket-source", "Is the ticket source Pancake there?", CRITERION,
        reads=(read_golive.read_ticket_source,), ask=of_golive.ask_ticket_source, needs=("database",),
        cure="hasura migrate apply --database-name default", login=OWNER,
        runbook="docs/runbook/rollback.md#932-tickets-refer-to-the-source",
    ),
    Check(
        "role-rights", "Have the database roles the rights that they need, and no other?", CRITERION,
        reads=(read_golive.read_rights,), ask=of_golive.ask_rights, needs=("database",), login=OWNER,
        fine="handlers and operators have their rights",
        cure="As the owner: psql -f deploy/postgres/grant_roles.sql",
        runbook="docs/runbook/install.md#4-migrations",
    ),
    Check(
        "deliveries", "Has the webhook delivered to each connection?", CRITERION,
        reads=(read_golive.read_deliveries,), ask=of_golive.ask_deliveries, needs=("database",),
        cure="Enter the URL in Pancake, Settings, Tools, Webhook; then: leads connection test",
        runbook="docs/runbook/install.md#7-the-connection-to-pancake",
    ),
    Check(
        "before-opening", "Does the kill switch hold the leads until the pilot starts?", CRITERION,
        reads=(read_golive.read_opening,), ask=of_golive.ask_before_opening, needs=("database",),
        fine="leads are held", cure="leads switch kill on --reason TEXT",
        runbook="docs/runbook/go-live.md#sources-and-switches",
    ),
    Check(
        "opening", "Is the pilot open, for one source?", CRITERION,
        reads=(read_golive.read_opening,), ask=of_golive.ask_opening, needs=("database",),
        cure="leads switch kill off --reason TEXT", runbook="docs/runbook/go-live.md#sources-and-switches",

    ),
    Check(
        "diva-columns", "Have Diva's tables the columns that the integration uses?", CRITERION,
        reads=(read_golive.read_diva_columns,), ask=of_golive.ask_diva_columns, needs=("database",),
        fine="all are there", cure=ASK_DIVA, runbook="docs/runbook/go-live.md#divas-side",
    ),
    Check(
        "diva-sources", "Has Diva its eight ticket sources?", CRITERION,
        reads=(read_golive.read_diva_sources,), ask=of_golive.ask_diva_sources, needs=("database",),
        fine="they are there", cure=ASK_DIVA, login=OWNER, runbook="docs/runbook/go-live.md#divas-side",

    ),
    Check(
        "diva-migration", "Is Diva's newest migration the one before the integration's?", CRITERION,
        reads=(read_golive.read_diva_migration,), ask=of_golive.ask_diva_migration, needs=("database",),
        fine="it is the one before those of the integration", login=OWNER,
        cure="Renumber our migrations, or confirm that it touches none of our tables: leads golive waive",
        runbook="docs/runbook/go-live.md#divas-side",
    ),
    Check(
        "postgresql", "Is PostgreSQL new enough?", CRITERION,
        reads=(read_golive.read_size,), ask=of_golive.ask_postgresql, needs=("database",),
        cure="Upgrade PostgreSQL; for an older one see docs/diva-contract.md; then: leads golive precheck",
        runbook="docs/diva-contract.md#postgresql-older-than-15",
    ),
    Check(
        "accounts", "Has the database as many accounts as were measured?", CRITERION,
        reads=(read_golive.read_size,), ask=of_golive.ask_accounts, needs=("database",),
        cure="Measure the backfill on a copy first: leads backfill-phones --dry-run",
        runbook="docs/performance.md#backfill",
    ),
    Check(
        "snapshot", "Is there a snapshot of the tables that the deployment changes?", CRITERION,
        reads=(read_golive.read_snapshot,), ask=of_golive.ask_snapshot,
        cure="leads golive deploy --until snapshot", runbook="docs/runbook/go-live.md#the-deployment",
    ),
    Check(
        "lookups", "Do the lookups of a lead use their indexes?", CRITERION,
        reads=(read_golive.read_scanned_tables,), ask=of_golive.ask_lookups, needs=("database",),
        fine="all use an index", cure="psql: ANALYZE account, pancake_webhook_event",
        runbook="docs/performance.md#plans-and-statistics",
    ),
    Check(
        "db-connections", "Are there enough connections for engine and handlers?", CRITERION,
        reads=(read_golive.read_manifest, read_golive.read_size, read_golive.read_plan),
        ask=of_golive.ask_connections, needs=("database",),
        cure="Raise max_connections, or lower HASURA_GRAPHQL_PG_CONNECTIONS; "
        "then: leads golive precheck database",
        runbook="docs/runbook/go-live.md#connections-locks-memory",
    ),
    Check(
        "downgrade", "Does the manifest name no older engine than runs?", CRITERION,
        reads=(read_version, read_golive.read_manifest), ask=of_golive.ask_downgrade, needs=("hasura",),
        cure="Correct the image in engine_manifest, then: leads golive precheck engine",
        runbook="docs/runbook/rollback.md#tier-2-images",
    ),
    Check(
        "event-pool", "Do repeated events leave the engine room for new ones?", CRITERION,
        reads=(read_golive.read_manifest, read_golive.read_plan), ask=of_golive.ask_event_pool,
        cure="Raise HASURA_GRAPHQL_EVENTS_HTTP_POOL_SIZE, then: leads golive precheck engine",
        runbook="docs/runbook/go-live.md#the-engine",
    ),
    Check(
        "engine-stop", "Does the engine get time to end its deliveries?", CRITERION,
        reads=(read_golive.read_manifest,), ask=of_golive.ask_engine_stop,
        cure="stop_grace_period or terminationGracePeriodSeconds 180; then: leads golive precheck engine",
        runbook="docs/runbook/go-live.md#the-engine",
    ),
    Check(
        "engine-logs", "Is the engine's log free of customers' data?", CRITERION,
        reads=(read_golive.read_manifest,), ask=of_golive.ask_engine_logs, fine="by its settings it is",
        cure="Set what docs/runbook/install.md, step 3, lists, then: leads golive precheck engine",
        runbook="docs/runbook/go-live.md#the-engine",
    ),
    Check(
        "night-crons", "Does no cron of others run at 02:00 in Vietnam?", CRITERION,
        reads=(read_metadata,), ask=of_golive.ask_night_crons, needs=("metadata-read",),
        fine="none is near", cure="Move theirs, then: leads golive precheck engine",
        runbook="docs/runbook/go-live.md#the-engine",
    ),
    Check(
        "hasura-roles", "Does each role of Hasura see what it should, and no more?", CRITERION,
        reads=(read_role_faults,), ask=of_golive.ask_roles, needs=("metadata-read",),
        fine="each sees what it should",
        cure="See what differs with `leads metadata diff`; then: leads metadata 9a --over-drift",
        runbook="docs/runbook/metadata.md#on-a-shared-engine",
    ),
    Check(
        "staging", "Are the metadata as on staging?", CRITERION,
        reads=(read_golive.read_staging,), ask=of_golive.ask_staging, needs=("metadata-read",),
        fine="they are as on staging", cure="leads metadata compare --with URL",
        runbook="docs/runbook/metadata.md#on-a-shared-engine",
    ),
    Check(
        "public-url", "Does the edge answer at the public URL?", CRITERION,
        reads=(read_golive.read_public_answer,), ask=of_golive.ask_public_url,
        cure="Let PUBLIC_URL lead to deploy/nginx; on its machine: systemctl status pancake-edge",
        runbook="docs/runbook/edge.md#pancakeedgedown",
    ),
    Check(
        "certificate", "Is the certificate of the public URL valid for two weeks?", CRITERION,
        reads=(read_golive.read_certificate,), ask=of_golive.ask_certificate,
        cure="Renew it, and see that the renewal runs by itself; then: leads golive precheck edge",
        runbook="docs/runbook/go-live.md#packages-certificate-prometheus",
    ),
    Check(
        "alerts", "Has Prometheus loaded the alerts?", CRITERION,
        reads=(read_golive.read_alerts,), ask=of_golive.ask_alerts, fine="all are loaded",
        cure="Load deploy/prometheus/*.rules.yml, reload Prometheus, then: leads golive precheck edge",
        runbook="docs/alerts.md#install",
    ),
    Check(
        "retention", "Does Prometheus keep 45 days?", CRITERION,
        reads=(read_golive.read_retention,), ask=of_golive.ask_retention,
        cure="--storage.tsdb.retention.time=45d or more; then: leads golive precheck edge",
        runbook="docs/runbook/go-live.md#packages-certificate-prometheus",
    ),
    Check(
        "packages", "Is the package installed?", CRITERION,
        reads=(read_golive.read_packages,), ask=of_golive.ask_package,
        cure="Install the locked packages (scripts/lock), then: leads golive precheck metadata",
        runbook="docs/runbook/go-live.md#packages-certificate-prometheus",
    ),
)  # fmt: skip

Known = Mapping[Reader[Any], Any]
"""Values that are read already, by their readers."""
BY_ID: Mapping[str, Check] = {check.id: check for check in CHECKS}


def select(when: When, params: Params | None = None) -> list[Asked]:
    """Return the checks that a command asks."""
    return [Asked(check, params or {}) for check in CHECKS if when in check.when]


def look_at(
    wanted: Sequence[Asked], services: Services, known: Known | None = None, seconds: float = LOOK_SECONDS
) -> tuple[list[Result], Facts]:
    """Ask these checks at once; `known` are values that are read already."""
    return look(wanted, CHECKS, services, known or {}, seconds)
