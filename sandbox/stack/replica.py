"""One of several processes of the handlers. It listens on a port that only it has, and on one that all share.

The kernel spreads new connections over the processes that listen on the shared port, as a Service of
Kubernetes does over pods.
"""

import argparse
import socket

import uvicorn

HOST = "127.0.0.1"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m sandbox.stack.replica", description=__doc__)
    parser.add_argument("application", help="the factory, for example app:create_app")
    parser.add_argument("--shared-port", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    chosen = parser.parse_args()
    shared = socket.create_server((HOST, chosen.shared_port), reuse_port=True)
    alone = socket.create_server((HOST, chosen.port))
    config = uvicorn.Config(chosen.application, factory=True, access_log=False)
    uvicorn.Server(config).run(sockets=[alone, shared])
