"""New rules of the firewall hold once a new connection came through, else the old ones are back."""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure

PROJECT = Path(__file__).parents[2]


def loaded(name: str, path: str):
    """A module of a file, whatever its name ends in."""
    loader = importlib.machinery.SourceFileLoader(name, str(PROJECT / path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    sys.modules[name] = module
    loader.exec_module(module)
    return module


program = loaded("pergola_firewall", "roles/base/files/pergola-firewall")
plugin = loaded("firewall_proven", "roles/base/action_plugins/firewall_proven.py")

RULES = 'table inet pergola {{\n\tcomment "rules {}"\n}}\n'


class Kernel:
    """The programs that are called, and the table that the kernel has."""

    def __init__(self, table: str = "") -> None:
        self.table, self.calls, self.enabled = table, [], "enabled"

    def run(self, *command: str, check: bool = True, **_: object):
        self.calls.append(" ".join(command))
        done = type("Done", (), {"stdout": "", "stderr": "", "returncode": 0})()
        if command[:2] == ("nft", "list"):
            done.stdout = self.table
        elif command[:2] == ("nft", "--file"):
            self.table = Path(command[2]).read_text()
        elif command[1] == "is-enabled":
            done.stdout = self.enabled
        return done


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host whose wanted rules are others than the kernel's."""
    kernel = Kernel(RULES.format("0a"))
    monkeypatch.setattr(program, "NOTES", tmp_path / "firewall.d")
    monkeypatch.setattr(program, "replace", lambda rules: setattr(kernel, "table", rules))
    for name in ("WANTED", "PROVEN", "BEFORE", "OLD"):
        monkeypatch.setattr(program, name, tmp_path / f"{name.lower()}.nft")
    program.WANTED.write_text(RULES.format("0b"))
    monkeypatch.setattr(program, "run", kernel.run)
    return kernel


def test_who_takes_it_back_is_there_before_the_change(host):
    assert program.state() == "load"
    program.load()
    timer = next(n for n, call in enumerate(host.calls) if call.startswith("systemd-run"))
    change = next(n for n, call in enumerate(host.calls) if call.startswith("nft --file"))
    assert timer < change
    assert "--on-active=45" in host.calls[timer]
    assert program.BEFORE.read_text() == RULES.format("0a")


def test_rules_that_were_never_confirmed_are_none_to_go_back_to(host):
    program.load()
    program.WANTED.write_text(RULES.format("0c"))
    program.load()
    assert program.BEFORE.read_text() == RULES.format("0a")


def test_only_rules_that_were_proven_are_loaded_at_boot(host):
    program.load()
    assert not program.PROVEN.exists()
    assert program.state() == "confirm"
    program.confirm()
    assert program.PROVEN.read_text() == RULES.format("0b")
    assert program.state() == "same"
    assert "systemctl stop pergola-firewall-undo.timer" in host.calls


def test_rules_that_went_back_are_not_confirmed(host):
    program.load()
    host.table = RULES.format("0a")
    with pytest.raises(SystemExit, match="are back"):
        program.confirm()
    assert not program.PROVEN.exists()


def test_the_servers_own_file_is_given_back_once_and_left_alone_otherwise(host):
    program.OLD.write_text("# Managed by Ansible (role base).\ntable inet pergola {\n}\n")
    program.load()
    program.confirm()
    assert "table" not in program.OLD.read_text()
    program.OLD.write_text("table inet mine {\n}\n")
    program.confirm()
    assert program.OLD.read_text() == "table inet mine {\n}\n"


def test_rules_that_somebody_has_flushed_are_loaded_again(host):
    program.load()
    program.confirm()
    host.table = ""
    assert program.state() == "load"


def test_switched_off_the_rules_go_and_stay_away(host, capsys):
    program.load()
    program.confirm()
    program.off()
    assert host.table == ""
    assert not program.PROVEN.exists()
    assert "systemctl disable --now pergola-firewall.service" in host.calls
    assert capsys.readouterr().out == "changed\n"
    program.off()
    assert capsys.readouterr().out == ""


def test_one_inventory_does_not_switch_off_what_another_wants(host, capsys):
    program.NOTES.mkdir()
    (program.NOTES / "shop.json").touch()
    program.off()
    assert host.table == RULES.format("0a")
    assert capsys.readouterr().out == "stays for shop\n"


class Connection:
    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1


@pytest.fixture
def action(monkeypatch):
    """The plugin with answers of the server in their order; an exception is raised."""
    monkeypatch.setattr(plugin.time, "sleep", lambda _: None)

    def make(*answers, check=False):
        task = type("Task", (), {"args": {"ports": [2222]}, "check_mode": check})()
        one = plugin.ActionModule.__new__(plugin.ActionModule)
        one._task, one._connection, one.asked = task, Connection(), []
        left = list(answers)

        def answer(command, **_):
            one.asked.append(command.split()[-1])
            said = left.pop(0)
            if isinstance(said, Exception):
                raise said
            # As ssh says it where nobody has set LogLevel=ERROR.
            closed = "Shared connection to 203.0.113.1 closed.\r\n"
            return {"rc": 0, "stdout": said, "stderr": closed}

        one._low_level_execute_command = answer
        monkeypatch.setattr(plugin.ActionBase, "run", lambda *_: {})
        return one

    return make


def test_rules_that_the_kernel_has_are_left_alone(action):
    one = action("same")
    assert one.run(task_vars={})["changed"] is False
    assert one.asked == ["state"]


def test_a_check_changes_nothing(action):
    one = action("load", check=True)
    assert one.run(task_vars={})["changed"] is True
    assert one.asked == ["state"]


def test_a_new_connection_proves_new_rules(action):
    one = action("load", "", "confirm", "")
    assert one.run(task_vars={})["changed"] is True
    assert one.asked == ["state", "load", "state", "confirm"]
    assert one._connection.resets == 1


def test_rules_of_a_run_that_was_cut_off_are_proven_as_well(action):
    one = action("confirm", "confirm", "")
    one.run(task_vars={})
    assert one._connection.resets == 1


def test_a_connection_that_does_not_come_waits_for_the_rules_of_before(action):
    gone = AnsibleConnectionFailure("timed out")
    one = action("load", "", gone, gone, "load")
    with pytest.raises(AnsibleActionFail, match="rules of before are back") as raised:
        one.run(task_vars={"inventory_hostname": "web1"})
    assert "web1" in str(raised.value)
    assert "2222" in str(raised.value)
    assert "confirm" not in one.asked


def test_a_connection_that_comes_late_but_in_time_is_a_proof(action):
    one = action("load", "", AnsibleConnectionFailure("busy"), "confirm", "")
    assert one.run(task_vars={})["changed"] is True
