"""Who is told of deploys."""

import email
import http.server
import json
import socketserver
import threading
from typing import Any


class Listener:
    """A web server and a mail server on the control node that keep what they are sent."""

    def __init__(self) -> None:
        self.posts, self.mails = [], []
        listener = self

        class Web(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                listener.posts.append((self.path, json.loads(self.rfile.read(length))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        class Mail(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 here\r\n")
                while line := self.rfile.readline():
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        lines = iter(self.rfile.readline, b".\r\n")
                        listener.mails.append(email.message_from_bytes(b"".join(lines)))
                    self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 yes\r\n")
                    if verb == b"QUIT":
                        return

        self.servers = [
            http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web),
            socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail),
        ]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by which these are told."""
        web, mail = (server.server_address[1] for server in self.servers)
        return {
            "release_notify_urls": [f"http://127.0.0.1:{web}/a-secret-token"],
            "release_notify_mail": {
                "to": ["ops@example.org"],
                "sender": "deploy@example.org",
                "host": "127.0.0.1",
                "port": mail,
            },
        }

    def end(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()
