"""The command `pergola`: the line that it prints for each verb, and that this line is what runs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.cli.playbook import PlaybookCLI
from desk import program
from pergola_control.command.questions import QUESTIONS
from pergola_control.here import ROOT
from pergola_control.people.cli import VERBS
from pergola_control.people.options import FLAGS, OF_LOOKS, WITH_VALUE, parted
from pergola_control.people.servers import Server
from runs import PROGRAMS, clean_environment

PAGE = ROOT / "docs/command.md"
RECORD = """{
  printf '%s\\n' "$0" "${ANSIBLE_CONFIG-}"
  for word; do printf '%s\\n' "$word"; done
} >"$RECORD\""""
BOOKS = "ansible-playbook playbooks"
PROD = "-i inventory/prod"
# What is typed after `pergola prod`, and the line that runs.
LINES = {
    "site": f"ansible-playbook site.yml {PROD}",
    "site v1.4.0 --rebuild": f"ansible-playbook site.yml {PROD} -e version=v1.4.0 -e rebuild=true",
    "provision --rebuild": f"{BOOKS}/provision.yml {PROD} -e rebuild=true",
    "deploy v1.4.0": f"{BOOKS}/deploy.yml {PROD} -e version=v1.4.0",
    "deploy --limit web1 -e a=b v1.4.0 -vvC": (
        f"{BOOKS}/deploy.yml {PROD} -e version=v1.4.0 --limit web1 -e a=b -vvC"
    ),
    "deploy 'the branch'": f"""{BOOKS}/deploy.yml {PROD} -e '{{"version": "the branch"}}'""",
    "rollback": f"{BOOKS}/rollback.yml {PROD}",
    "rollback 39f4f881019d-12ef71c0 --env current --force --diff": (
        f"{BOOKS}/rollback.yml {PROD} -e release=39f4f881019d-12ef71c0 -e env=current "
        "-e force=true --diff"
    ),
    "releases": f"{BOOKS}/releases.yml {PROD}",
    "status --limit=web1": f"{BOOKS}/status.yml {PROD} --limit=web1",
    "run -- linkboard stats --json -v": (
        f"""{BOOKS}/run.yml {PROD} -e '{{"cmd": "linkboard stats --json -v"}}'"""
    ),
    "run -v 'linkboard stats | head'": (
        f"""{BOOKS}/run.yml {PROD} -e '{{"cmd": "linkboard stats | head"}}' -v"""
    ),
    """run -- echo "it's" 'a  b'""": f"{BOOKS}/run.yml {PROD} -e "
    + shlex.quote(json.dumps({"cmd": shlex.join(["echo", "it's", "a  b"])})),
    "maintenance on --duration 10m --message 'Back at noon'": (
        f"""{BOOKS}/maintenance.yml {PROD} -e state=on -e duration=10m """
        """-e '{"message": "Back at noon"}'"""
    ),
    "maintenance off": f"{BOOKS}/maintenance.yml {PROD} -e state=off",
    "restore": f"{BOOKS}/restore.yml {PROD}",
    "restore 5 minutes ago --check": f"{BOOKS}/restore.yml {PROD} -e to=-5m --check",
    "restore 2026-11-24T10:00:00Z --into scratch": (
        f"{BOOKS}/restore.yml {PROD} -e to=2026-11-24T10:00:00Z -e into=scratch"
    ),
    "restore --what files --app wiki --undo": (
        f"{BOOKS}/restore.yml {PROD} -e what=files -e app=wiki -e undo=true"
    ),
    "restore --point before-1a2b --xid 7 --repo 2 --timeline 3 --undo --confirm notes": (
        f"{BOOKS}/restore.yml {PROD} -e point=before-1a2b -e xid=7 -e undo=true -e repo=2 "
        "-e timeline=3 -e confirm=notes"
    ),
    "upgrade --postgresql latest --reboot": (
        f"{BOOKS}/upgrade.yml {PROD} -e postgresql=latest -e reboot=true"
    ),
    "upgrade --remove-old --confirm notes": (
        f"{BOOKS}/upgrade.yml {PROD} -e confirm=notes -e remove_old=true"
    ),
    "remove --confirm notes": f"{BOOKS}/remove.yml {PROD} -e confirm=notes",
}


class Desk:
    """A clone whose programs of Ansible write down how they were called."""

    def __init__(self, top):
        self.top, self.clone, self.record = top, top / "clone", top / "record"
        self.clone.mkdir()
        for name in ("control", "inventory", "plugins"):
            shutil.copytree(ROOT / name, self.clone / name, symlinks=True)
        shutil.copy2(ROOT / "ansible.cfg", self.clone)
        venv = self.clone / ".venv"
        (venv / "bin").mkdir(parents=True)
        shutil.copy2(Path(sys.prefix, "pyvenv.cfg"), venv)
        (venv / "lib").symlink_to(Path(sys.prefix, "lib"))
        (venv / "bin/python").symlink_to(Path(sys.executable).resolve())
        # As scripts/setup.sh has it.
        (venv / "bin/pergola").symlink_to("../../control/bin/pergola")
        program(venv / "bin/ansible-playbook", RECORD)
        program(venv / "bin/ssh", RECORD)

    def type(self, command, folder="clone", path=None, **environment):
        """The exit code, what was printed, and what the program was called with."""
        self.record.unlink(missing_ok=True)
        path = f"{self.clone}/.venv/bin:{os.environ['PATH']}" if path is None else path
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.top / folder,
            env=clean_environment(PATH=path, RECORD=str(self.record), **environment),
            capture_output=True,
            text=True,
            timeout=300,
        )
        called = self.record.read_text().splitlines() if self.record.exists() else []
        return done.returncode, done.stderr, called

    def line(self, command, *arguments, **environment):
        """The line that was printed, after it was pasted as well."""
        code, said, called = self.type(command, *arguments, **environment)
        assert (code, said.count("\n")) == (0, 1), said
        assert called
        assert self.type(said, *arguments, **environment) == (0, "", called)
        return said.rstrip("\n")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("desk"))


@pytest.mark.parametrize("typed", LINES)
def test_the_line_of_a_verb_is_printed_and_runs_and_can_be_pasted(desk, typed):
    assert desk.line(f"pergola prod {typed}") == LINES[typed]


def test_the_page_shows_what_is_printed(desk):
    shown = re.findall(r"^    \$ (pergola .*)\n    (.*)$", PAGE.read_text(), re.MULTILINE)
    assert len(shown) > 3
    for typed, line in shown:
        assert desk.line(typed) == line
    assert set(VERBS) == set(re.findall(r"^\| `(\w+)", PAGE.read_text(), re.MULTILINE))


def test_every_playbook_has_a_verb_for_all_that_it_is_asked():
    asked = {}
    for text in LINES.values():
        names = re.findall(r"-e '?\{?\"?(\w+)", text)
        asked.setdefault(Path(text.split()[1]).stem, set()).update(names)
    asked["deploy"].remove("a")  # the user's own
    assert asked == {book: set(questions) for book, questions in QUESTIONS.items()}
    assert set(VERBS) == {*QUESTIONS, "logs", "psql"}
    books = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    assert books | {"site"} == set(QUESTIONS)


def test_options_are_those_of_ansible_playbook():
    cli = PlaybookCLI(["ansible-playbook", "site.yml"])
    cli.init_parser()
    options = [each for each in cli.parser._actions if each.option_strings]
    flags = {name for each in options if each.nargs == 0 for name in each.option_strings}
    others = {name for each in options if each.nargs != 0 for name in each.option_strings}
    assert flags - {"-h", "--help", "--version"} == set(FLAGS)
    assert others - {"-i", "--inventory", "--inventory-file"} == set(WITH_VALUE)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("pergola p", ["prod"]),
        ("pergola prod r", ["releases", "remove", "restore", "rollback", "run"]),
    ],
)
def test_the_shell_completes_inventories_and_verbs(desk, words, completed):
    asks = {"_PERGOLA_COMPLETE": "complete_bash", "COMP_WORDS": words}
    asks["COMP_CWORD"] = str(words.count(" "))
    code, said, _ = desk.type("pergola >&2", **asks)
    assert (code, sorted(said.split())) == (0, completed)


def test_of_two_meanings_the_verbs_own_is_meant():
    every = FLAGS | WITH_VALUE
    assert parted(["-f", "--limit", "web1"], {"-f"}, every) == (["-f"], ["--limit", "web1"])
    assert parted(["-f", "5", "x"], (), every) == (["x"], ["-f", "5"])
    with pytest.raises(ValueError, match="--limit needs a value"):
        parted(["--limit"], (), every)
    assert every > OF_LOOKS


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("prod deploi", f"there is no verb deploi; there are {', '.join(VERBS)}"),
        ("prod", f"say what to do: {', '.join(VERBS)}"),
        ("prd deploy", "there is no inventory prd; there are demo, prod, staging"),
        ("../nowhere deploy", "there is no inventory ../nowhere; there are"),
        ("prod deploy --chekc", "No such option: --chekc"),
        ("prod deploy --limit", "--limit needs a value"),
        ("prod deploy v1 v2", "unexpected extra argument"),
        ("prod run", "Missing argument"),
        (
            "prod maintenance maybe",
            "Invalid value for 'STATE': 'maybe' is not one of 'on', 'off', 'pause', 'resume'",
        ),
        ("deploy prod", "the inventory comes before the verb: pergola prod deploy\n"),
        ("deploy v1 prod -C", "the inventory comes before the verb: pergola prod deploy v1 -C\n"),
        ("deploy v1", "pergola INVENTORY deploy v1; there are demo, prod, staging\n"),
        ("logs", "pergola INVENTORY logs; there are demo, prod, staging\n"),
        ("prod logs --check", "this verb does not take --check"),
        ("prod logs -vv", "this verb does not take -v"),
        ("prod psql --tags x", "this verb does not take --tags"),
        ("prod psql --ssh-common-args=-v", "this verb does not take --ssh-common-args"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(desk, typed, says):
    code, said, called = desk.type(f"pergola {typed}")
    assert (code, called) == (2, []), said
    assert says in said
    assert not re.search(r"[{}]|Value error", said)


@pytest.mark.parametrize(
    ("typed", "usage"),
    [
        ("--help", "pergola [OPTIONS] INVENTORY VERB …"),
        ("prod deploy --help", "pergola prod deploy [OPTIONS] [VERSION]"),
        ("prod run --help", "pergola prod run [OPTIONS] -- COMMAND…"),
        ("staging maintenance --help", "pergola staging maintenance [OPTIONS] STATE"),
    ],
)
def test_a_usage_is_as_it_is_typed(desk, typed, usage):
    code, said, _ = desk.type(f"pergola {typed} >&2")
    assert (code, said.splitlines()[0]) == (0, f"Usage: {usage}")


def test_an_inventory_of_ones_own_is_found_with_its_configuration_and_password(desk):
    own = desk.top / "our-servers"
    make = [sys.executable, desk.clone / "control", "inventory", own]
    subprocess.run(make, check=True, capture_output=True, env=clean_environment())
    book = "../clone/playbooks/status.yml"
    # Its own ansible.cfg names the password.
    assert desk.line("pergola . status", "our-servers") == f"ansible-playbook {book} -i hosts.yml"
    below = "ANSIBLE_CONFIG={} ansible-playbook {} -i {}"
    inside = desk.line("pergola our-servers status", "our-servers/group_vars")
    assert inside == below.format("../ansible.cfg", f"../{book}", "../hosts.yml")
    above = desk.line("pergola our-servers status", ".")
    assert above == below.format(
        "our-servers/ansible.cfg", "clone/playbooks/status.yml", "our-servers/hosts.yml"
    )
    assert desk.line("pergola ../our-servers status") == below.format(
        "../our-servers/ansible.cfg", "playbooks/status.yml", "../our-servers/hosts.yml"
    )
    blank = desk.top / "a blank"
    shutil.copytree(own, blank / "made")
    assert desk.line("pergola made status", "a blank") == (
        f"ANSIBLE_CONFIG=made/ansible.cfg ansible-playbook {book} -i made/hosts.yml"
    )
    assert desk.line("pergola './a blank/made' status", ".") == (
        "ANSIBLE_CONFIG='a blank/made/ansible.cfg' ansible-playbook clone/playbooks/status.yml "
        "-i 'a blank/made/hosts.yml'"
    )
    _, said, _ = desk.type("pergola nowhere status", "our-servers")
    assert "there are demo, our-servers, prod, staging" in said


def test_the_clones_inventories_are_found_from_anywhere(desk):
    elsewhere = desk.top / "else where"
    elsewhere.mkdir()
    assert desk.line("pergola prod status", "else where") == (
        "ANSIBLE_CONFIG=../clone/ansible.cfg ansible-playbook ../clone/playbooks/status.yml "
        "-i ../clone/inventory/prod"
    )
    chosen = {"ANSIBLE_CONFIG": str(desk.clone / "ansible.cfg")}
    assert desk.line("pergola prod status", "else where", **chosen).startswith("ansible-playbook")
    shutil.copytree(desk.clone / "inventory/prod", elsewhere / "inventory/prod")
    assert desk.line("pergola prod status", "else where").endswith(" -i inventory/prod")


def test_the_password_of_an_inventory_in_the_clone_is_found(desk):
    password = desk.clone / "inventory/staging/.secrets/vault-password"
    program(password, "")
    assert desk.line("pergola staging deploy --check") == (
        f"{BOOKS}/deploy.yml -i inventory/staging "
        "--vault-password-file inventory/staging/.secrets/vault-password --check"
    )


def test_without_the_virtual_environment_on_the_path_its_program_is_named(desk):
    line = desk.line(".venv/bin/pergola prod status", path=os.environ["PATH"])
    assert line == f".venv/bin/ansible-playbook playbooks/status.yml {PROD}"


def test_the_servers_are_asked_for_as_ansible_knows_them(desk):
    (desk.clone / ".venv/bin/ansible").symlink_to(PROGRAMS / "ansible")
    own = desk.clone / "inventory/own"
    own.mkdir()
    hosts = {
        "web1": {
            "ansible_host": "198.51.100.7",
            "ansible_port": 2222,
            "ansible_user": "{{ 'a' ~ 'da' }}",
            "ansible_ssh_common_args": "-F '{{ inventory_dir }}/ssh config'",
        },
        "web2": {},
    }
    variables = {"app_name": "notes", "base_operators": [{"name": "ada"}]}
    groups = {"app": {"hosts": hosts}, "db": {"hosts": {"web1": {}}}}
    (own / "hosts.yml").write_text(json.dumps({"servers": {"children": groups, "vars": variables}}))
    code, said, _ = desk.type("pergola own psql", TERM="dumb")
    assert code == 0, said
    assert said == f"ssh -F '{own}/ssh config' -p 2222 ada@198.51.100.7 'psql notes'\n"
    assert desk.type(said)[2][2:] == shlex.split(said)[1:]
    code, said, _ = desk.type("pergola own logs -f")
    assert code == 2
    assert "there are web1, web2: choose one, as in --limit web1" in said
    code, said, called = desk.type("pergola own logs --limit web2")
    assert (code, called[2]) == (0, "web2")
    code, said, called = desk.type("pergola own logs --limit web2 --user eve")
    assert (code, called[2]) == (0, "eve@web2")
    # What is wrong is said in a line, without what Ansible was asked.
    for typed, says in {
        "own logs --limit web3": "--limit chooses none of the group app; there are web1, web2",
        "own psql --limit web2": "--limit chooses none of the group db; there are web1",
        "prod logs": "inventory/prod/hosts.yml:8: ansible_host still holds the placeholder",
        "prod psql": "settings.yml:5: app_name still holds the placeholder CHANGE-ME",
    }.items():
        code, said, called = desk.type(f"pergola {typed}")
        assert (code, called) == (2, []), said
        assert says in said
        assert not re.search(r"[{}]|\[ERROR\]|debug", said), said
    del variables["app_name"]
    (own / "hosts.yml").write_text(json.dumps({"servers": {"children": groups, "vars": variables}}))
    code, said, called = desk.type("pergola own psql")
    assert (code, called) == (2, [])
    assert said.endswith("Error: web1: 'app_name' is undefined\n")


def server(**changes):
    known = {"address": "web1.example.org", "user": "", "port": "", "key": "", "app": "notes"}
    return Server(**{**known, "common": "", "more": "", "operators": "ada eve", **changes})


@pytest.mark.parametrize(
    ("user", "psql", "journal"),
    [
        ("ada", "psql notes", 'sudo journalctl --unit="notes[.@]*" --follow'),
        (
            "deploy",
            "cd / && sudo -u postgres -- env PGOPTIONS=-crole=notes_read psql notes",
            'sudo journalctl --unit="notes[.@]*" --follow',
        ),
        (
            "root",
            "cd / && runuser -u postgres -- env PGOPTIONS=-crole=notes_read psql notes",
            'journalctl --unit="notes[.@]*" --follow',
        ),
    ],
)
def test_an_account_looks_with_the_rights_that_it_has(user, psql, journal):
    there = server(user=user)
    assert (there.psql(), there.journal(follow=True)) == (psql, journal)


def test_ssh_gets_what_ansible_would_give_it():
    there = server(user="ada", key="~/.ssh/work", more="-J gate")
    assert there.ssh("psql notes") == [
        *("ssh", "-J", "gate", "-i", "~/.ssh/work", "ada@web1.example.org", "psql notes")
    ]
    assert server().ssh("true") == ["ssh", "web1.example.org", "true"]
