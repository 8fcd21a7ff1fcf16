"""The verbs of `leads golive`."""

from leads.cli.golive.deploy.command import deploy_command
from leads.cli.output import examples, verb_group

app = verb_group(
    "The go-live checklist as commands: precheck, deploy, watch, gates, drills.",
    "docs/go-live.md has each line of the checklist with the command that answers it.",
    examples("golive deploy --plan", "golive precheck"),
)
app.command(
    "deploy", epilog=examples("golive deploy --plan", "golive deploy", "golive deploy --rollback 9a")
)(deploy_command)
