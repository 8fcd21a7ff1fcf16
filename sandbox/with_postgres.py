"""`python -m sandbox.with_postgres COMMAND …`: run a command with DATABASE_URL of a temporary PostgreSQL.

If DATABASE_URL is set already, the command uses that server. The exit code is the command's.
"""

import os
import subprocess
import sys

from sandbox.cluster import Cluster, named_server


def main() -> int:
    """Start PostgreSQL, run the command, stop PostgreSQL."""
    if not sys.argv[1:]:
        print("usage: python -m sandbox.with_postgres COMMAND [ARGUMENT …]", file=sys.stderr)
        return 2
    with Cluster(durable=False, server_url=named_server()) as cluster:
        url = named_server() or cluster.url("postgres")
        return subprocess.run(sys.argv[1:], env={**os.environ, "DATABASE_URL": url}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
