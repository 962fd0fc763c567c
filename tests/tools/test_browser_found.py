"""scripts/browser.sh: which browser linkboard's tests use, and whether a package brings one."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from runs import ROOT

WORKS = "echo Chromium 150"
# Ubuntu's package chromium-browser without the snap.
STUB = "echo 'requires the chromium snap to be installed' >&2; exit 1"
DEBIAN = "chromium:\n  Installed: (none)\n  Candidate: 150.0-1~deb12u1\n"
UBUNTU = ""  # apt says nothing of a name that it does not know
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
GONE = "chromium:\n  Installed: (none)\n  Candidate: (none)\n"


@pytest.fixture
def machine(tmp_path):
    """Run the script on a machine that has these programs and nothing else; apt knows this."""

    def run(word, apt=UBUNTU, **programs):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("sh", "timeout", "grep", "echo"):
            (folder / name).symlink_to(shutil.which(name))
        (tmp_path / "apt").write_text(apt)
        programs["apt_cache"] = f'while read -r line; do echo "$line"; done <{tmp_path / "apt"}'
        for name, text in programs.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!{shutil.which('sh')}\n{text}\n")
            path.chmod(0o755)
        done = subprocess.run(
            [folder / "sh", ROOT / "scripts/browser.sh", word],
            env={"PATH": str(folder)},
            capture_output=True,
            text=True,
        )
        return done.returncode, Path(done.stdout.strip()).name

    return run


@pytest.mark.parametrize("name", NAMES)
def test_any_of_them_is_taken(machine, name):
    assert machine("path", **{name.replace("-", "_"): WORKS}) == (0, name)


def test_one_that_does_not_start_is_passed_over(machine):
    found = machine("path", chromium_browser=STUB, google_chrome=WORKS)
    assert found == (0, "google-chrome")


def test_a_machine_that_has_only_ubuntu_s_stub_has_none(machine):
    assert machine("path", chromium_browser=STUB) == (1, "")


@pytest.mark.parametrize(("apt", "package"), [(DEBIAN, "chromium"), (UBUNTU, ""), (GONE, "")])
def test_a_package_is_named_only_where_apt_has_it(machine, apt, package):
    assert machine("package", apt=apt) == (0, package)


def test_linkboard_s_tests_look_for_the_same():
    script = (ROOT / "scripts/browser.sh").read_text()
    tests = (ROOT / "sample_app/tests/test_browser.py").read_text()
    names = re.search(r"for name in (.*); do", script)[1].split()
    assert re.search(r"names = \((.*)\)", tests)[1].replace('"', "").split(", ") == names


@pytest.mark.parametrize(
    ("apt", "knows", "asked"),
    [
        (DEBIAN, "release o=Debian", ["install chromium"]),
        (UBUNTU, "release o=Ubuntu", []),
        (UBUNTU, "release a=now", ["update"]),  # it was never updated
    ],
)
def test_setup_asks_for_what_the_distribution_has(tmp_path, apt, knows, asked):
    """With all else installed already, and the Python tools too."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    shutil.copy(ROOT / "requirements-dev.txt", tmp_path)
    both = [tmp_path / name for name in ("requirements-dev.txt", "scripts/setup.sh")]
    stamp = hashlib.sha256(b"".join(path.read_bytes() for path in both)).hexdigest()[:16]
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/pergola").write_text(f"requirements-dev.txt {stamp}")
    (tmp_path / "apt").write_text(apt)
    log = tmp_path / "log"
    programs = {
        "apt-cache": f'[ $# = 1 ] && echo "{knows}" || cat {tmp_path / "apt"}',
        "apt-get": 'for last; do case $last in update | install | chrom*) echo "$last"; esac; done '
        f"| paste -sd ' ' >>{log}",
        "dpkg-query": 'for last; do :; done; [ "$last" = chromium ] || echo installed',
        "sudo": 'exec "$@"',
        **dict.fromkeys(NAMES, STUB),
    }
    for name, text in programs.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    done = subprocess.run(
        [tmp_path / "scripts/setup.sh", "test"],
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    calls = log.read_text().splitlines() if log.exists() else []
    assert [call for call in calls if call != "update" or "update" in asked] == asked
    assert ("browser tests are left out" in done.stdout) == (apt == UBUNTU)
