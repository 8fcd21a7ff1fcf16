"""Run a command with DATABASE_URL of a temporary PostgreSQL server, or as it is if it is set already.

    python -m sandbox.postgres.with_postgres COMMAND [ARGUMENT …]

The exit code is that of the command.
"""

import os
import subprocess
import sys

from sandbox.postgres.server import Cluster, server_url_from_environment


def main() -> int:
    if not sys.argv[1:]:
        print("usage: python -m sandbox.postgres.with_postgres COMMAND [ARGUMENT …]", file=sys.stderr)
        return 2
    with Cluster(durable=False, server_url=server_url_from_environment()) as cluster:
        url = server_url_from_environment() or cluster.url("postgres")
        return subprocess.run(sys.argv[1:], env={**os.environ, "DATABASE_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
