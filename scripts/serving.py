"""`scripts/serve`: the handlers alone, as the image serves them, but on BIND."""

import os

import typer
import uvicorn

from leads.adapters.settings import SettingsError

app = typer.Typer(add_completion=False)


@app.command()
def serve() -> None:
    """Serve the handlers on BIND (default 127.0.0.1:8000); .env is read if it is there.

    Exit code 2 if the environment is incomplete.
    """
    host, _, port = os.environ.get("BIND", "127.0.0.1:8000").rpartition(":")
    try:
        if not port.isdecimal():
            raise SettingsError("BIND is not an address and a port")
        uvicorn.run(
            "app:create_app", factory=True, host=host, port=int(port),
            access_log=False, server_header=False, timeout_graceful_shutdown=25,
        )  # fmt: skip
    except SettingsError as error:
        typer.echo(f"The handlers do not start: {error}.", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    app(prog_name="scripts/serve")
