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
    ("begin", begin, "begin W1 --by 'Lan'", "begin W2 --by 'Lan' --since 2026-06-05"),
    ("baseline", baseline, "baseline --since 2026-05-18 --until 2026-05-24 > baseline.csv"),
    ("gate", gate, "gate W1", "gate W1 --at 2026-06-04T10:00 --json"),
    ("attest", attest, "attest G-1 --value 1 --evidence prd-signed.pdf --by 'Lan'",
     "attest G-3 --evidence junit.xml --by 'Minh'"),
    ("waive", waive, "waive G-10 --reason 'no answer' --until 2026-06-30 --by Hoa"),
    ("not-applicable", not_applicable, "not-applicable allowlist-W4 --reason 'no ranges' --by Hoa"),
    ("report", report, "report W1 --key golive.pem --to reports"),
    ("verify", verify, "verify report/report.dsse.json --public-key golive.pub"),
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
