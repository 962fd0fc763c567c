"""Every ansible-playbook command of README and docs, typed as it stands there.

It goes through everything that is looked at on the control node, and ends where a server would be
asked. What it does on a server is what the scenarios see.
"""

import re
from pathlib import Path

import pytest
from desk import Desk, answers, git
from runs import ROOT

# Typed by other tests: from the repository that it is for (test_teams_page.py), from a
# directory beside the clone (tests/control/test_inventory_made.py), and what `make demo` runs
# (.ci/run), whose source is the whole clone.
ELSEWHERE = (
    *("ansible-playbook pergola/", "ansible-playbook ../pergola/"),
    "ansible-playbook site.yml -i inventory/demo",
)


def shown():
    """The commands, each once, with the first place where it stands."""
    found = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for command in re.findall(r"(?:^\s*(?:\$ )?|`)(ansible-playbook [^`]*)", line):
                plain = re.sub(r"\s+# .*", "", command).strip()
                if not plain.startswith(ELSEWHERE):
                    found.setdefault(plain, f"{path.name}:{number}")
    return [pytest.param(command, id=place) for command, place in found.items()]


def second_application():
    """The inventory that docs/your-application.md shows, file by file; its source is here."""
    page = (ROOT / "docs/your-application.md").read_text()
    found = re.findall(r"`(inventory/wiki/\S+)`:\n\n```yaml\n(.*?)```", page, re.DOTALL)
    return {name: text.replace("git@github.com:you/wiki.git", "~/app") for name, text in found}


def role_of_ones_own():
    """The files that the page shows for it, each by its name in the first line."""
    page = (ROOT / "docs/your-application.md").read_text()
    section = page.partition("## A role of your own\n")[2].partition("\n## ")[0]
    found = re.findall(r"^    # file: (\S+)\n((?:(?:    .*)?\n)+)", section, re.MULTILINE)
    return {name: re.sub("^    ", "", text, flags=re.MULTILINE) for name, text in found}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    made = Desk(Path(tmp_path_factory.mktemp("desk")))
    git(made.home / "app", "tag", "v1.4.0")
    for name, text in second_application().items():
        (made.top / name).parent.mkdir(parents=True, exist_ok=True)
        (made.top / name).write_text(text)
    (made.top / "pergola").symlink_to(made.clone)
    for name, text in role_of_ones_own().items():
        path = made.top / "ours" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


@pytest.mark.parametrize("command", shown())
def test_a_command_that_is_shown_goes_as_far_as_the_server(desk, command):
    desk.make(ssh=answers("Connection timed out"))
    before = desk.files()

    code, said = desk.type(command.replace("<app_name>", "notes"), typed="right\n")

    assert code == 4, said  # nobody answered
    assert "REFUSED, nothing was changed" in said
    assert "No answer from" in said
    assert desk.contacted()
    assert desk.files() == before


def test_a_playbook_with_a_role_of_ones_own_has_it_between_pergolas(desk):
    assert set(role_of_ones_own()) == {"memcached.yml", "roles/memcached/tasks/main.yml"}
    command = "ansible-playbook ../ours/memcached.yml -i inventory/prod"
    assert command in [param.values[0] for param in shown()]
    code, said = desk.type(f"{command} --syntax-check")
    assert code == 0, said
    code, said = desk.type(f"{command} --list-tasks")
    assert code == 0, said
    plays = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("  play #")]
    assert [play.partition("\t")[0] for play in plays] == [
        "Provision the servers",
        "Install Memcached",
        "Deploy the application",
    ], said
    assert "memcached : Install Memcached" in said


def test_the_inventory_of_a_second_application_has_ten_lines_of_its_own_settings():
    hosts, settings = second_application().values()
    assert len([*hosts.splitlines(), *settings.splitlines()]) == 10
    names = [line.partition(":")[0] for line in settings.splitlines()]
    assert all(name.startswith(("app_", "release_")) for name in names)


def test_they_are_found():
    commands = [param.values[0] for param in shown()]
    assert len(commands) > 30
    books = {word for command in commands for word in command.split() if word.endswith(".yml")}
    assert books >= {f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml")} - {
        "playbooks/provision.yml"
    }
