"""The command line of `scripts/chaos`."""

import typer

from proofs.chaos.crash_points import crash_points
from proofs.chaos.drill import drill
from proofs.chaos.layers import day, four_layers
from proofs.chaos.month import month
from proofs.chaos.mutations import mutations
from proofs.chaos.outages import edge_flood, edge_outage, kill
from proofs.incidents.live import incidents

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Inject faults and count every lead. Exit codes: 0 all checks passed, 1 a lead was lost, "
    "duplicated or answered with an error, or an alert is not as expected, 2 the scenario could not run.",
)
app.command("crash_points")(crash_points)
app.command("edge_outage")(edge_outage)
app.command("four_layers")(four_layers)
app.command("day")(day)
app.command("edge_flood")(edge_flood)
app.command("kill")(kill)
app.command("incidents")(incidents)
app.command("drill")(drill)
app.command("month")(month)
app.command("mutations")(mutations)


@app.callback()
def main() -> None:
    """Make each scenario a command, even if there were only one."""


if __name__ == "__main__":
    app(prog_name="scripts/chaos")
