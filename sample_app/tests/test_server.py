"""The real server process, started as in production: on a unix socket that was opened for it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
from conftest import uvicorn, wait_until_ready


def test_server_on_a_given_socket(environment: dict, databases, tmp_path: Path) -> None:
    path, log = databases.home / "app.sock", tmp_path / "log"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        transport = httpx.HTTPTransport(uds=str(path))
        with (
            httpx.Client(transport=transport, base_url="http://board.test") as client,
            uvicorn(listener, environment, log) as pid,
        ):
            wait_until_ready(log, lambda: client.get("/readyz").status_code)
            assert client.get("/healthz").json()["release"] == "r-42"
            headers = {"X-Forwarded-For": "192.0.2.7", "X-Request-ID": "trace-0001"}
            answer = client.get("/login?q=private", headers=headers)
            assert answer.headers["x-release"] == "r-42"

            code = "from linkboard.cli import main; main()"
            check = [sys.executable, "-c", code, "healthcheck", "--uds", str(path)]
            done = subprocess.run(check, env=environment, stdout=subprocess.PIPE, text=True)
            assert done.returncode == 0
            assert json.loads(done.stdout)["status"] == "ready"

            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + 10
            while "Finished server process" not in log.read_text():
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)

    lines = [json.loads(line) for line in log.read_text().splitlines()]  # nothing but JSON
    assert {"uvicorn.error", "linkboard.request"} <= {line["logger"] for line in lines}
    request = next(line for line in lines if line.get("path") == "/login")
    assert request["request_id"] == "trace-0001"
    assert request["client"] == "192.0.2.7"
    assert "private" not in log.read_text()
    assert not [line for line in lines if line.get("path") == "/readyz" and line["status"] == 200]
