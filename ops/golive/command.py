"""The verbs of `leads golive`."""

from ops.golive.deploy.command import deploy_command as deploy
from ops.golive.drill import drill
from ops.golive.gate import begin, gate, list_criteria
from ops.golive.handover import handover
from ops.golive.precheck.command import precheck
from ops.golive.report import report
from ops.golive.sending import smoke
from ops.golive.stating import attest, not_applicable, waive
from ops.golive.verify import verify
from ops.golive.watching import baseline, day0, watch
from ops.output import examples, verb_group

app = verb_group(
    "Check, record and sign the go-live, line by line of the checklist.",
    "The criteria are data. docs/go-live.md shows which of them answers which line.",
    examples("golive gate W1", "golive list --gate W1"),
)
app.command("list", epilog=examples("golive list", "golive list --gate W1 --json"))(list_criteria)
app.command(
    "begin", epilog=examples("golive begin W1 --by 'Lan'", "golive begin W2 --by 'Lan' --since 2026-06-05")
)(begin)
app.command("baseline", epilog=examples("golive baseline --from 2026-05-18 --to 2026-05-24 > baseline.csv"))(
    baseline
)
app.command("gate", epilog=examples("golive gate W1", "golive gate W1 --at 2026-06-04T10:00 --json"))(gate)
app.command(
    "attest",
    epilog=examples(
        "golive attest G-1 --value 1 --evidence prd-signed.pdf --by 'Lan'",
        "golive attest G-3 --evidence junit.xml --by 'Minh'",
    ),
)(attest)
app.command(
    "waive",
    epilog=examples("golive waive G-10 --reason 'no answer' --until 2026-06-30 --by Hoa"),
)(waive)
app.command(
    "not-applicable",
    epilog=examples("golive not-applicable allowlist-W4 --reason 'no ranges' --by Hoa"),
)(not_applicable)
app.command("report", epilog=examples("golive report W1 --key golive.pem --to reports"))(report)
app.command(
    "verify",
    epilog=examples("golive verify report/report.dsse.json --public-key golive.pub"),
)(verify)
app.command(
    "deploy", epilog=examples("golive deploy --plan", "golive deploy", "golive deploy --rollback 9a")
)(deploy)
app.command("precheck", epilog=examples("golive precheck", "golive precheck engine metadata --json"))(
    precheck
)
app.command("day0", epilog=examples("golive day0"))(day0)
app.command("watch", epilog=examples("golive watch", "golive watch --json"))(watch)
app.command("drill", epilog=examples("golive drill tier1 --database diva_staging"))(drill)
app.command("smoke", epilog=examples("golive smoke captured.json --phone 0905111222"))(smoke)
app.command("handover", epilog=examples("golive handover --to handover.tar.gz"))(handover)
