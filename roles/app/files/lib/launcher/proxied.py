"""A server that opens its own socket, behind the one that systemd holds: proxied.py port COMMAND.

A release is asked on its slot's socket, whatever serves it. What cannot take that one listens on a
port of loopback (`port`), which its command finds in $PORT, or on a unix socket (`socket`), which
it finds in $PERGOLA_SOCKET: in a /tmp of its own, so nobody else gets there. systemd's own proxy
passes on what arrives. It ends with the unit, after the server has ended.

The port is one that nobody has. It stays reserved: a bound socket that does not listen keeps the
kernel from giving the port away, and lets a server that sets SO_REUSEADDR, as all do, have it.
"""

import os
import socket
import sys
from pathlib import Path

PROXY = "/usr/lib/systemd/systemd-socket-proxyd"
SOCKET = "/tmp/pergola.sock"  # noqa: S108 - the unit's own (PrivateTmp=)
CONNECTIONS = "4096"  # as many as a slot's queue, not the proxy's 256
GIVEN = 3  # the file descriptor of the slot's socket


def main(kind: str, command: str) -> None:
    """Start the proxy, and become the server's command."""
    if kind == "port":
        reserved = socket.socket()
        reserved.bind(("127.0.0.1", 0))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.set_inheritable(True)
        port = str(reserved.getsockname()[1])
        target, name, value = f"127.0.0.1:{port}", "PORT", port
    else:
        target, name, value = SOCKET, "PERGOLA_SOCKET", SOCKET
        Path(SOCKET).unlink(missing_ok=True)  # of the run before
    if os.fork() == 0:
        passed_on = {**os.environ, "LISTEN_PID": str(os.getpid())}
        proxy = [PROXY, f"--connections-max={CONNECTIONS}", target]
        os.execve(PROXY, proxy, passed_on)  # noqa: S606 - no shell is wanted
    os.close(GIVEN)
    own = {key: text for key, text in os.environ.items() if not key.startswith("LISTEN_")}
    os.execve("/bin/sh", ["sh", "-euc", command], {**own, name: value})  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
