"""docs/disaster.md, walked as it is written: the server and the control node's key are gone."""

import re
import shlex
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest
import scenario
from conftest import Figures
from rows import Rows
from scenario import AUTHORITY, INVENTORY, PROJECT, RUN, Playbooks, Server, Site, said
from testinfra.host import Host

KEY = RUN / "backup.key"
PAGE = (PROJECT / "docs/disaster.md").read_text()
ROOT = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
UPLOADS = "/srv/probe/shared/uploads"
OWN_NAME = "ip-203-0-113-7"


def commands(section: str) -> list[list[str]]:
    """The commands of a section of the page, in their order."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line.strip()]


def walked(playbook: Playbooks, words: list[str], **more: object) -> CompletedProcess[str]:
    """A command of the page, with this scenario's inventory in the place of the user's."""
    assert words[0] == "ansible-playbook"
    assert words[2:4] == ["-i", "inventory/prod"]
    return playbook(words[1], *words[4:], inventory=INVENTORY, **more)


def configuration(host: Host) -> str:
    return host.check_output("find /etc/pgbackrest /etc/pergola -type f | sort | xargs sha256sum")


@pytest.fixture(scope="module")
def before(
    rows: Rows, web1: Host, vault1: Host, pergola_backup: Callable[..., str]
) -> dict[str, object]:
    """What there was; then the machine is gone, and so is the key's file. Files were its own."""
    if not web1.run("ls /var/lib/postgresql/*/main/pg_wal/*.history").succeeded:
        web1.check_output("pergola-backup restore")  # the new server sends these to its copy again
    rows.add(*range(rows.next(), rows.next() + 20))
    web1.check_output("echo an upload >/var/lib/probe/upload")
    web1.check_output(f"echo a picture >{UPLOADS}/picture && chown probe {UPLOADS}/picture")
    web1.check_output("pergola-backup files")
    # Those of applications that were removed meanwhile do not come back, and would be missed.
    web1.check_output("rm -rf /var/lib/pgbackrest/files/keeper /var/lib/pgbackrest/files/mailer")
    vault1.check_output("rm -rf /var/lib/pgbackrest/copies/files/web1")
    vault1.check_output("pergola-backup files-copy")
    done = web1.run("pergola-backup point before-the-end")
    assert done.rc == 0
    assert "WARNING" not in done.stderr  # it is in the copy
    found = {"rows": rows.there(), "key": KEY.read_text(), "vault1": configuration(vault1)}
    KEY.unlink()
    scenario.testhosts("replace", "web1", OWN_NAME)
    assert web1.check_output("hostname") == OWN_NAME
    return found


@pytest.fixture(scope="module")
def asked(before: dict[str, object], playbook: Playbooks) -> CompletedProcess[str]:
    """The page's first command."""
    return walked(playbook, commands("Step by step")[0])


def test_a_machine_in_its_place_is_asked_about_before_anything_changes(
    asked: CompletedProcess[str], before: dict[str, object], web1: Host, vault1: Host
):
    assert asked.returncode != 0
    output = said(asked)
    assert "vault1 holds backups of web1" in output
    assert "web1 has no database cluster" in output
    assert "-e rebuild=true" in output
    assert set(re.findall(r"changed=\d+", asked.stdout)) == {"changed=0"}
    assert not web1.file("/etc/postgresql").exists
    assert configuration(vault1) == before["vault1"]
    assert not KEY.exists()


@pytest.fixture(scope="module")
def rebuilt(asked: CompletedProcess[str], playbook: Playbooks) -> CompletedProcess[str]:
    """The page's answer to it."""
    return walked(playbook, commands("Step by step")[1])


def test_the_rows_are_there_again_and_the_application_serves_them(
    rebuilt: CompletedProcess[str],
    before: dict[str, object],
    web1: Host,
    site: Site,
    server: Server,
    rows: Rows,
    figures: Figures,
):
    assert rebuilt.returncode == 0, rebuilt.stdout
    assert rows.there() == before["rows"]
    figures.restored += len(rows.there())
    AUTHORITY.write_bytes(web1.file(ROOT).content)  # the page: an internal authority is a new one
    assert site.release() == server.live()
    rows.add(rows.next())
    output = said(rebuilt)
    assert "the archive ends at" in output
    assert KEY.read_text() == before["key"]
    assert "was fetched from where it was still known" in output


def test_the_page_names_what_did_not_come_back(rebuilt: CompletedProcess[str], web1: Host):
    assert not web1.file("/var/lib/probe/upload").exists
    assert "other files of the application: `/var/lib/<app_name>`" in PAGE
    assert "before-the-end" not in web1.file("/var/lib/pergola/points.jsonl").content_string
    assert "named points" in PAGE
    assert len(web1.file("/srv/probe/releases").listdir()) == 1
    assert "history of deploys, kept releases" in PAGE


def test_the_files_come_back_from_the_other_host(
    rebuilt: CompletedProcess[str], playbook: Playbooks, web1: Host, vault1: Host
):
    assert not web1.file(f"{UPLOADS}/picture").exists
    (words,) = [words for words in commands("Step by step") if "what=files" in words]
    done = walked(playbook, words, confirm="probe")
    assert done.returncode == 0, done.stdout
    picture = web1.file(f"{UPLOADS}/picture")
    assert (picture.content_string, picture.user) == ("a picture\n", "probe")
    web1.check_output("pergola-backup files; rm -r /srv/probe/shared.before-*")
    vault1.check_output("pergola-backup files-copy")
    assert "1 file" in web1.file("/var/lib/pergola/results/files.json").content_string


def test_the_pages_last_commands_work_and_everything_goes_on_under_its_name(
    rebuilt: CompletedProcess[str], playbook: Playbooks, web1: Host
):
    for words in commands("Step by step")[3:]:
        done = walked(playbook, words)
        assert done.returncode == 0, done.stdout
    web1.check_output("head -c 3000000 /dev/zero >/var/lib/probe/upload")
    again = playbook("playbooks/provision.yml", "--tags=backup")
    of_the_application = playbook("playbooks/deploy.yml", "--tags=app")
    web1.check_output("rm -r /var/lib/probe/upload /var/lib/postgresql/*/main.before-*")
    for done in (again, of_the_application):
        assert done.returncode == 0, done.stdout
        assert set(re.findall(r"changed=\d+", done.stdout)) == {"changed=0"}
    assert web1.check_output("ls /var/lib/pgbackrest/backup").split() == ["web1"]
    warning = "keeps files on web1 that are in no backup: 1 in /var/lib/probe, 2.86 MB."
    assert warning in said(of_the_application)
