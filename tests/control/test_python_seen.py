"""What a server says of its Pythons, and of what it reaches."""

import importlib.util
import os
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "roles/preflight/library/python_seen.py"


@pytest.fixture
def seen():
    spec = importlib.util.spec_from_file_location("python_seen", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def address(tmp_path):
    (tmp_path / "there").touch()
    handler = partial(SimpleHTTPRequestHandler, directory=os.fspath(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_one_address_that_answers_is_enough(seen, address):
    assert seen.unanswered([]) == ""
    assert seen.unanswered([f"{address}/there"]) == ""
    assert seen.unanswered(["http://127.0.0.1:9/x", f"{address}/there"]) == ""


def test_why_none_answers_is_said_of_each(seen, address):
    said = seen.unanswered(["http://127.0.0.1:9/x", f"{address}/none"])
    assert "http://127.0.0.1:9/x: " in said
    assert f"{address}/none answers 404" in said


def test_interpreters_that_run_are_told_once_the_usual_one_first(seen, tmp_path):
    script = "#!/bin/sh\necho {}\n"
    for name, version in (("python3.12", "3.12.4"), ("python3.13", "3.13.5")):
        (tmp_path / name).write_text(script.format(version))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "python3").symlink_to("python3.13")
    (tmp_path / "python3.14").write_text("#!/bin/sh\nexit 1\n")  # a minimal one
    (tmp_path / "python3.14").chmod(0o755)
    (tmp_path / "python3.12-config").touch()
    assert list(seen.own(tmp_path)) == [
        (f"{tmp_path}/python3", "3.13.5"),
        (f"{tmp_path}/python3.12", "3.12.4"),
    ]


def test_what_uv_brought_is_told_without_its_links(seen, tmp_path):
    (tmp_path / "cpython-3.12.4-linux-x86_64-gnu").mkdir()
    (tmp_path / "cpython-3.12-linux-x86_64-gnu").symlink_to("cpython-3.12.4-linux-x86_64-gnu")
    assert seen.brought(tmp_path) == ["cpython-3.12.4-linux-x86_64-gnu"]
    assert seen.brought(tmp_path / "none") == []


def test_the_proxy_of_the_server_holds_where_sudo_has_left_it_out(seen, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", {"https_proxy": "http://own:1"})
    file = tmp_path / "environment"
    file.write_text(
        'http_proxy="http://proxy:3128"\nexport https_proxy=http://other:2\nPATH=/x\n'
        "LD_PRELOAD=/x\n"
    )
    seen.take_environment(file)
    assert os.environ == {"https_proxy": "http://own:1", "http_proxy": "http://proxy:3128"}
    seen.take_environment(tmp_path / "none")
