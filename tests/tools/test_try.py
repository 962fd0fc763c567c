"""`make try` and `make demo`, but for what a test host does: what is called, and what is said."""

import shutil

import pytest
from desk import Desk, program
from runs import ROOT

# What they call that is not here: hosts, Ansible, a connection.
TESTHOSTS = """\
import pathlib, sys
open("called", "a").write(" ".join(sys.argv[1:]) + "\\n")
if "--into" in sys.argv:
    pathlib.Path(sys.argv[sys.argv.index("--into") + 1]).mkdir(exist_ok=True)
"""
SSH = 'case "$*" in *hostname*) echo 10.9.8.7 fe80::1 ;; esac'
MAIN = "from fastapi import FastAPI\napp = FastAPI()\n"


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    for name in ("Makefile", "scripts", "inventory"):
        take = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        options = {"dirs_exist_ok": True} if take is shutil.copytree else {}
        take(ROOT / name, found.clone / name, **options)
    program(found.clone / "scripts/setup.sh", "true")
    (found.clone / ".venv").mkdir()
    program(found.clone / ".venv/bin/ansible-playbook", 'echo "$@" >>called')
    (found.clone / "testhosts").mkdir()
    (found.clone / "testhosts/__main__.py").write_text(TESTHOSTS)
    found.make(
        ssh='case "$*" in *hostname*) echo 10.9.8.7 fe80::1 ;; *) echo "$@" >>called ;; esac'
    )
    (found.home / "app/main.py").write_text(MAIN)
    return found


def called(desk):
    return (desk.clone / "called").read_text().splitlines()


def test_an_application_is_tried_and_removed_and_its_settings_are_kept(desk):
    code, said = desk.type("make --silent try APP=~/app")
    assert code == 0, said
    assert "app_asgi             main:app                                     main.py:2" in said
    assert f"up --keep --into .try try of {desk.clone} try" in called(desk)
    assert "site.yml -i .try/inventory" in called(desk)
    assert "https://app.localhost:8443/" in said
    assert "--resolve app.localhost:443:10.9.8.7 https://app.localhost/" in said
    assert "make inventory DIR=../our-servers" in said

    code, said = desk.type("make --silent try-down")
    assert code == 0, said
    assert f"down try of {desk.clone}" in called(desk)
    assert not (desk.clone / ".try").exists()
    assert "make try APP=… SETTINGS=.try-settings.yml" in said
    assert "app_asgi: main:app" in (desk.clone / ".try-settings.yml").read_text()

    code, said = desk.type("make --silent try APP=~/app SETTINGS=.try-settings.yml")
    assert code == 0, said
    code, said = desk.type("make --silent try-down && make --silent try-down")
    assert code == 0, said


def test_without_an_application_nothing_is_booted(desk):
    code, said = desk.type("make --silent try")
    assert code != 0
    assert "Next: make try APP=../my-app" in said
    assert not (desk.clone / "called").exists()


def test_the_demo_has_a_host_of_its_own(desk):
    code, said = desk.type("make --silent demo")
    assert code == 0, said
    assert f"up --keep --into .demo demo of {desk.clone} demo" in called(desk)
    assert "site.yml -i inventory/demo" in called(desk)
    password = (desk.clone / ".demo/password").read_text().strip()
    readme = (ROOT / "README.md").read_text().partition("      linkboard is up after")[2]
    for line in readme.partition("…")[0].splitlines()[1:]:
        shown = line.strip().replace("lVMldeygGTcA", password).replace("10.213.61.10", "10.9.8.7")
        assert shown.partition(" you@")[0] in said, shown
    code, said = desk.type("make --silent demo-down")
    assert code == 0
    assert not (desk.clone / ".demo").exists()
