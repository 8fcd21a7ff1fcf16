"""A server that answers as the edge's internal listener does, with the figures of a test."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HEALTH = {"status": "ok", "version": "0.1.0", "spool_writable": True, "policy_connections": 1}


@contextmanager
def edge_status(*, spooled: int = 0, quarantined: int = 0, skipped: str = "", **health: Any) -> Iterator[str]:
    """Its URL, as long as the block lasts. `skipped` names the paths that fail, separated by spaces."""
    document = HEALTH | {"spool_files": spooled, "policy_age_seconds": 5} | health
    lines = [f'pancake_edge_spool_files{{folder="quarantine"}} {quarantined}']
    lines += [
        f'pancake_edge_upstream_skipped{{upstream="{path}"}} {int(path in skipped.split())}'
        for path in ("hasura", "handlers")
    ]
    answers = {"/healthz": json.dumps(document), "/metrics": "\n".join(lines)}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = answers.get(self.path, "").encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
