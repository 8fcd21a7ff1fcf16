"""The verbs of `leads golive`."""

from ops.golive.deploy.command import deploy_command as deploy
from ops.golive.drill import drill
from ops.golive.gates import baseline, day0, gate, list_criteria, precheck, watch
from ops.golive.handover import handover
from ops.golive.report import report, verify
from ops.golive.sending import smoke
from ops.golive.stating import attest, begin, not_applicable, waive
from ops.output import examples, verb_group

app = verb_group(
    "Check, record and sign the go-live, line by line of the checklist.",
    "The criteria are data. docs/runbook/go-live.md shows which of them answers which line.",
    examples("golive gate W1", "golive list --gate W1"),
)
VERBS = (
    ("list", list_criteria, "list", "list --gate W1 --json"),
    ("begin", begin, "begin W2 --to reports", "begin W2 --since 2026-06-05",
     "begin W2 --again 'six sources were on'"),
    ("baseline", baseline, "baseline --since 2026-05-18 --until 2026-05-24 > baseline.csv"),
    ("gate", gate, "gate W1", "gate W1 --at 2026-06-04T10:00 --json"),
    ("attest", attest, "attest E2-QA-data=11 E2-QA-accounts=3 --evidence qa.pdf", "attest --open W1",
     "attest G-3 test-cases-W1 --evidence junit.xml"),
    ("waive", waive, "waive G-10 --reason 'no answer' --until 2026-06-30"),
    ("not-applicable", not_applicable,
     "not-applicable allowlist-W4 --reason 'no ranges' --until 2026-06-30"),
    ("report", report, "report W1 --to reports"),
    ("verify", verify, "verify reports/W1-20260604T020000Z"),
    ("deploy", deploy, "deploy --plan", "deploy", "deploy --rollback 9a"),
    ("precheck", precheck, "precheck", "precheck engine metadata --json"),
    ("day0", day0, "day0"),
    ("watch", watch, "watch", "watch --json"),
    ("drill", drill, "drill tier1 --database diva_staging"),
    ("smoke", smoke, "smoke captured.json --phone -"),
    ("handover", handover, "handover --to handover.tar.gz"),
)  # fmt: skip
for name, function, *shown in VERBS:
    app.command(name, epilog=examples(*(f"golive {each}" for each in shown)))(function)
