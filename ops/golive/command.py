"""The verbs of `leads golive`."""

from ops.golive.deploy.command import deploy_command as deploy
from ops.golive.drill import drill
from ops.golive.gates import begin, gate, list_criteria
from ops.golive.handover import handover
from ops.golive.report import report
from ops.golive.sending import smoke
from ops.golive.stating import attest, not_applicable, waive
from ops.golive.verify import verify
from ops.golive.watching import baseline, day0, precheck, watch
from ops.output import examples, verb_group

app = verb_group(
    "Check, record and sign the go-live, line by line of the checklist.",
    "The criteria are data. docs/runbook/go-live.md shows which of them answers which line.",
    examples("golive gate W1", "golive list --gate W1"),
)
VERBS = (
    ("list", list_criteria, "list", "list --gate W1 --json"),
    ("begin", begin, "begin W1", "begin W2 --since 2026-06-05"),
    ("baseline", baseline, "baseline --since 2026-05-18 --until 2026-05-24 > baseline.csv"),
    ("gate", gate, "gate W1", "gate W1 --at 2026-06-04T10:00 --json"),
    ("attest", attest, "attest G-1 --value 1 --evidence prd-signed.pdf", "attest --open W1",
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
    ("smoke", smoke, "smoke captured.json --phone 0905111222"),
    ("handover", handover, "handover --to handover.tar.gz"),
)  # fmt: skip
for name, function, *shown in VERBS:
    app.command(name, epilog=examples(*(f"golive {each}" for each in shown)))(function)
