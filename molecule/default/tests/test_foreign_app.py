"""Another application than ours, with an ordinary uv.lock, beside linkboard on the same server.

Its inventory has its own settings only, and playbooks/deploy.yml is all that brings it.
"""

import hashlib
import json
import re
import shutil
import socket
import ssl
import subprocess

import pytest
import yaml
from scenario import AUTHORITY, RUN, Site, address

testinfra_hosts = ["ansible://web1"]

NAME = "notes.test"
# Characters that shells, systemd and YAML all have their own ideas about.
SECRET = "p\"a'ss $HOME ${x} %h \\n #1 {{ no }} é"

PYPROJECT = """\
[project]
name = "notes"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["fastapi>=0.100", "uvicorn>=0.30"]
"""

MODULE = """\
import hashlib
import os

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

app = FastAPI()
app.add_middleware(TrustedHostMiddleware, allowed_hosts=[os.environ["NOTES_HOST"]])


@app.get("/healthz")
def healthz():
    return {"release": os.environ["PERGOLA_RELEASE"]}


@app.get("/")
def index():
    key = hashlib.sha256(os.environ["NOTES_KEY"].encode()).hexdigest()
    return PlainTextResponse(f"first edition {key}")


@app.post("/echo")
async def echo(request: Request):
    return Response(await request.body(), media_type="application/octet-stream")
"""


def status(host, app):
    return json.loads(host.check_output(f"/srv/{app}/bin/release status"))


def main_process(host, app):
    unit = f"{app}@{status(host, app)['slot']}"
    return host.check_output(f"systemctl show --property=MainPID --value {unit}")


def certificate(name, authority):
    """The certificate that is presented for a name, once it was verified."""
    trust = ssl.create_default_context(cadata=authority)
    with (
        socket.create_connection((address("web1"), 443), timeout=10) as connection,
        trust.wrap_socket(connection, server_hostname=name) as secured,
    ):
        return secured.getpeercert()


class Notes:
    """The application's repository, and the environment that describes where it goes."""

    def __init__(self, path):
        self.source, self.inventory = path / "notes", path / "inventory"
        (self.source / "static").mkdir(parents=True)
        (self.inventory / "group_vars/servers").mkdir(parents=True)
        self.write("pyproject.toml", PYPROJECT)
        self.write("notes.py", MODULE)
        self.write("static/plain.txt", "a plain file\n")
        self.write("static/site.0123456789ab.css", "body { color: teal }\n")
        self.write(".gitignore", ".venv/\n")
        self.run("uv", "lock", "--quiet")
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.run("git", "config", "user.email", "tests@example.org")
        self.run("git", "config", "user.name", "Tests")
        self.commit("Begin")

    def run(self, *command):
        done = subprocess.run(command, cwd=self.source, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, name, text):
        (self.source / name).write_text(text)

    def commit(self, message):
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", f"--message={message}")

    def describe(self, groups, settings):
        """Write the environment: connection, settings, and the secret in a vault."""
        host = next(
            host
            for host in json.loads((RUN / "hosts.json").read_text())["hosts"]
            if host["name"] == "web1"
        )
        web1 = {
            "ansible_host": host["address"],
            "ansible_user": host["user"],
            "ansible_private_key_file": host["identity_file"],
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={RUN}/known_hosts "
            "-o IdentitiesOnly=yes -o StrictHostKeyChecking=yes "
            f"-o ControlPath={RUN}/ssh-notes",
        }
        children = {group: {"hosts": {"web1": web1}} for group in groups}
        self.save("hosts.yml", {"servers": {"children": children}})
        self.save("group_vars/servers/settings.yml", settings)
        vault = self.inventory / "group_vars/servers/vault.yml"
        # A value that looks like a template must be marked: in a vault as everywhere in Ansible.
        vault.write_text(f"vault_notes_key: !unsafe {json.dumps(SECRET, ensure_ascii=False)}\n")
        self.password = self.inventory / ".password"
        self.password.write_text("open sesame\n")
        self.run("ansible-vault", "encrypt", f"--vault-password-file={self.password}", str(vault))

    def save(self, name, content):
        (self.inventory / name).write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    notes = Notes(tmp_path_factory.mktemp("foreign"))
    yield notes
    shutil.rmtree(notes.source)


@pytest.fixture(scope="module")
def settings(notes):
    """All that a user would have to write: what is the server's, linkboard's inventory has."""
    return {
        "app_name": "notes",
        "app_domain": NAME,
        "app_source": str(notes.source),
        "app_version": "main",
        "app_asgi": "notes:app",
        "app_workers": 1,
        "app_static_url": "/static",
        "app_static_dir": "static",
        "app_environment": {"NOTES_HOST": "{{ app_domain }}"},
        "app_secrets": {"NOTES_KEY": "{{ vault_notes_key }}"},
    }


@pytest.fixture(scope="module")
def run(notes, playbook):
    def run(book, **more):
        password = f"--vault-password-file={notes.password}"
        done = playbook(book, password, inventory=notes.inventory / "hosts.yml", **more)
        assert SECRET[:12] not in done.stdout, "the secret was shown"
        return done

    return run


@pytest.fixture(scope="module")
def neighbour(host, site):
    """Linkboard's release and process as they were before notes came."""
    return site.release(), main_process(host, "linkboard")


@pytest.fixture(scope="module")
def nowhere(host, neighbour, notes, settings, run):
    """First without a database, under a name that nobody resolves."""
    notes.describe(["app"], settings)
    done = run("playbooks/deploy.yml", app_domain="nowhere.test")
    assert done.returncode == 0, done.stdout
    return done


@pytest.fixture(scope="module")
def live(host, nowhere, notes, settings, run):
    """Then under its name, with a database."""
    notes.describe(["app", "db"], settings)
    done = run("playbooks/deploy.yml")
    assert done.returncode == 0, done.stdout
    return Site(NAME, address("web1"))


def test_a_name_that_does_not_resolve_is_warned_of_and_the_site_answers_all_the_same(host, nowhere):
    said = re.sub(r"\s+", " ", nowhere.stdout)
    assert "WARNING: nowhere.test (app_domain) does not resolve, not to web1" in said
    assert "point the domain's A/AAAA records to this server and " in said
    site = Site("nowhere.test", address("web1"))
    assert site.get("/", plain=True).text.startswith("first edition")
    root = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
    presented = certificate("nowhere.test", host.file(root).content_string)
    assert presented["subjectAltName"] == (("DNS", "nowhere.test"),)


def test_it_answers_by_https_beside_linkboard_each_with_its_own_certificate(site, live):
    live.get("/healthz").raise_for_status()
    site.get("/readyz").raise_for_status()
    authority = AUTHORITY.read_text()
    for name in (NAME, site.name):
        assert certificate(name, authority)["subjectAltName"] == (("DNS", name),)
    assert live.get("/", plain=True).status_code == 308


def test_linkboard_is_what_it_was_and_did_not_restart(host, site, neighbour, live):
    """The connections of both are fewer than PostgreSQL accepts from the beginning."""
    assert (site.release(), main_process(host, "linkboard")) == neighbour


def test_its_settings_and_its_secret_arrive_as_they_were_written(host, live):
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    assert live.get("/").text == f"first edition {digest}"
    release = status(host, "notes")["live"]
    manifest = host.file(f"/srv/notes/releases/{release}/release.json").content_string
    assert SECRET[:12] not in manifest
    readable = host.run(f"runuser -u linkboard -- cat /srv/notes/releases/{release}/environment")
    assert readable.rc != 0, "linkboard can read the secrets of notes"


def test_bodies_of_requests_arrive_whole(live):
    body = bytes(range(256)) * 4096  # 1 MiB
    with live.client() as client:
        assert client.post("/echo", content=body).content == body


def test_its_static_files_come_from_disk(live):
    plain, hashed = live.get("/static/plain.txt"), live.get("/static/site.0123456789ab.css")
    assert plain.text == "a plain file\n"
    assert plain.headers["cache-control"] == "no-cache"
    assert "immutable" in hashed.headers["cache-control"]


def test_it_cannot_reach_the_database_of_linkboard(host, live):
    ask = "runuser -u {} -- psql --no-password -Atc 'select 1' {}"
    assert host.check_output(ask.format("notes", "notes")) == "1"
    assert host.check_output(ask.format("linkboard", "linkboard")) == "1"
    for user, database in (("notes", "linkboard"), ("linkboard", "notes")):
        refused = host.run(ask.format(user, database))
        assert refused.rc != 0
        assert f'permission denied for database "{database}"' in refused.stderr


def test_a_second_run_changes_nothing(live, run):
    assert "changed=0 " in run("playbooks/deploy.yml").stdout


def test_a_lock_that_is_out_of_date_is_refused_with_the_way_on(host, live, notes, run):
    before = live.get("/healthz").text
    notes.write("pyproject.toml", PYPROJECT.replace("fastapi>=0.100", "fastapi>=0.101"))
    notes.commit("Want another version, and forget the lock")

    done = run("playbooks/deploy.yml")

    said = re.sub(r"\s+", " ", done.stdout)
    assert done.returncode != 0
    assert "notes on web1: could not install what uv.lock says" in said
    assert "phase: prepare" in said
    assert "next: the lock is out of date: run `uv lock`, commit, deploy again" in said
    assert "live now: " in said
    assert live.get("/healthz").text == before

    notes.run("uv", "lock", "--quiet")
    notes.commit("Lock")
    assert run("playbooks/deploy.yml").returncode == 0
    assert live.get("/healthz").text != before


def test_a_lock_that_lacks_a_package_is_refused_before_anything_is_sent(host, live, notes, run):
    before = live.get("/healthz").text
    notes.write("pyproject.toml", PYPROJECT.replace('"uvicorn', '"idna>=3", "uvicorn'))

    done = run("playbooks/deploy.yml", version="working-tree")

    assert done.returncode != 0
    said = re.sub(r"\s+", " ", done.stdout)
    assert "uv.lock is older than pyproject.toml: idna is not in the lock." in said
    assert "Next: run `uv lock`" in said
    assert live.get("/healthz").text == before
    notes.run("git", "checkout", "--", "pyproject.toml")


def test_a_member_of_a_workspace_is_deployed_in_its_own_directory(host, live, notes, run):
    """Its lock is at the top, its module and its static files are below."""
    where = notes.source / "apps/notes"
    where.mkdir(parents=True)
    for name in ("pyproject.toml", "notes.py", "static"):
        (notes.source / name).rename(where / name)
    notes.write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["apps/*"]\n')
    notes.run("uv", "lock", "--quiet")
    secret = {"UV_INDEX_ELSEWHERE_PASSWORD": "an-index-password"}

    more = {"app_build_secrets": secret, "app_build_netrc": "machine x.test password for-git"}
    done = run("playbooks/deploy.yml", version="working-tree", **more)

    assert done.returncode == 0, done.stdout
    live.get("/healthz").raise_for_status()
    assert live.get("/static/plain.txt").text == "a plain file\n"
    release = status(host, "notes")["live"]
    process = main_process(host, "notes")
    inside = f"/srv/notes/releases/{release}/code/apps/notes"
    assert host.check_output(f"readlink /proc/{process}/cwd") == inside
    for word in ("an-index-passwor[d]", "for-gi[t]"):  # sudo logs this command
        found = host.run(f"grep -rIl '{word}' /srv/notes /etc/systemd /run/notes")
        assert found.stdout == "", "an access of the build's is kept"
        assert host.run(f"journalctl --grep='{word}' --quiet").stdout == ""
    notes.run("git", "reset", "--quiet", "--hard")
    shutil.rmtree(notes.source / "apps", ignore_errors=True)


def test_a_directory_is_deployed_as_it_is(host, live, notes, run):
    notes.write("notes.py", MODULE.replace("first edition", "not committed"))

    done = run("playbooks/deploy.yml", version="working-tree")

    assert done.returncode == 0, done.stdout
    assert live.get("/").text.startswith("not committed")
    assert status(host, "notes")["live"].startswith("t")


def test_linkboard_never_noticed(host, site, neighbour):
    assert (site.release(), main_process(host, "linkboard")) == neighbour
