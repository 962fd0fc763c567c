"""The action that sends an archive, run as Ansible runs it."""

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "roles/release/action_plugins/archive_sent.py"
CONTENT = b"\x1f\x8b\0any bytes\xff" * 5000


@pytest.fixture
def send(tmp_path):
    (tmp_path / "sent").write_bytes(CONTENT)

    def run(*options):
        argv = [Path(sys.executable).parent / "ansible", "localhost", "-c", "local", *options]
        argv += ["-m", "archive_sent", "-a", f"src={tmp_path}/sent dest='{tmp_path}/a b.tar.gz'"]
        environment = os.environ | {"ANSIBLE_ACTION_PLUGINS": str(PLUGIN.parent)}
        done = subprocess.run(argv, env=environment, cwd=tmp_path, capture_output=True, text=True)
        return done.stdout + done.stderr

    return run


@pytest.fixture
def receive(tmp_path):
    spec = importlib.util.spec_from_file_location("archive_sent", PLUGIN)
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)

    def run(content, size):
        script = plugin.RECEIVE.format(dest=shlex.quote(str(tmp_path / "a b.tar.gz")), size=size)
        return subprocess.run(["sh", "-c", script], input=content, capture_output=True)

    return run


def test_it_arrives_for_its_owner_alone_and_once(send, tmp_path):
    assert "localhost | CHANGED" in send()
    there = tmp_path / "a b.tar.gz"
    assert there.read_bytes() == CONTENT
    assert there.stat().st_mode & 0o7777 == 0o600
    inode = there.stat().st_ino
    assert "localhost | SUCCESS" in send()
    assert there.stat().st_ino == inode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a b.tar.gz", "sent"]


def test_nothing_is_sent_in_check_mode(send, tmp_path):
    assert "localhost | SKIPPED" in send("--check")
    assert not (tmp_path / "a b.tar.gz").exists()


def test_an_archive_that_is_gone_is_named(send, tmp_path):
    (tmp_path / "sent").unlink()
    assert f"{tmp_path}/sent could not be read" in send()


def test_what_a_cut_connection_leaves_is_thrown_away(receive, tmp_path):
    (tmp_path / "a b.tar.gz").write_bytes(b"old")
    done = receive(CONTENT[:-1], len(CONTENT))
    assert (done.returncode, done.stderr) == (1, b"it did not arrive whole\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a b.tar.gz"]
    assert (tmp_path / "a b.tar.gz").read_bytes() == b"old"
