"""`pancake-handlers`: the handlers on the address BIND. It is the command of their image."""

import signal
import sys
from argparse import ArgumentParser
from contextlib import suppress
from pathlib import Path

import uvicorn

from leads.adapters.logs import configure_logs
from leads.adapters.settings import SettingsError, read_settings

APP_FOLDER = Path(__file__).resolve().parents[1]
"""The folder that holds app.py, beside leads/."""
SHUTDOWN_SECONDS = 25
"""From the signal to the end at most: less than the 30 s after which Kubernetes and compose.yaml kill it."""
ANSWER_SECONDS = 15
"""How long open requests go on after the signal. Then they are cancelled, and answered 503."""
MAX_CONNECTIONS = 800
"""Open connections over which requests get 503 and are sent again later: each holds memory and a file."""
HELP = """\
Serve the handlers until Ctrl-C or SIGTERM, on BIND (127.0.0.1:8000 by default). With OPS_BIND, /readyz and
/metrics are on that address only. Logs are JSON lines on stdout. .env.example explains each variable.
Exit codes: 1 an address is taken; 2 the environment is incomplete, and every problem is named."""


def main() -> None:
    ArgumentParser(prog="pancake-handlers", description=HELP).parse_args()
    try:
        settings = read_settings()
    except SettingsError as error:
        print(error.report("scripts/handlers"), file=sys.stderr)
        sys.exit(2)
    configure_logs(settings.log_level)
    # uvicorn ends by the signal that stopped it, as an orchestrator expects.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.path.insert(0, str(APP_FOLDER))
    addresses = [settings.bind, *([settings.ops_bind] if settings.ops_bind else [])]
    configs = [_configure(host, port) for host, port in addresses]
    server = uvicorn.Server(configs[0])
    with suppress(KeyboardInterrupt):
        server.run(sockets=[config.bind_socket() for config in configs])
    if not server.started:
        sys.exit(1)


def _configure(host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        "app:create_app",
        factory=True,
        host=host,
        port=port,
        access_log=False,
        log_config=None,  # its lines go where those of the handlers go, as JSON, and are counted
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=ANSWER_SECONDS,
    )


if __name__ == "__main__":
    main()
