"""Mistakes of a person are refused early, all at once, and in words that say what to do next."""

import re
import subprocess
import time

import pytest
import yaml
from scenario import PROJECT

testinfra_hosts = ["ansible://web1"]

DEPLOY = "playbooks/deploy.yml"
HOME = "/srv/linkboard"
# Reserved for documentation: a run that tried to reach it would end as unreachable.
NOBODY = "192.0.2.1"
GOOD = {
    "app_name": "notes",
    "app_domain": "notes.test",
    "app_source": "/nonexistent",
    "app_asgi": "notes:app",
}
HOLD_APT = (
    "import fcntl, time; file = open('/var/lib/dpkg/lock-frontend', 'w'); "
    "fcntl.lockf(file, fcntl.LOCK_EX); time.sleep(300)"
)


def one_line(text):
    return re.sub(r"\s+", " ", text)


def state(host):
    """What a refused run must leave as it was: the releases, what is live, and the ledger."""
    return host.check_output(
        f"ls -l --time-style=full-iso {HOME}/releases {HOME}/slots {HOME}/live; "
        f"sha256sum {HOME}/ledger.jsonl; systemctl show --property=MainPID linkboard@blue "
        "linkboard@green; find /etc -newermt '-1 hour' -type f -exec sha256sum {} + | sort"
    )


@pytest.fixture
def untouched(host):
    """The host is after the test what it was before it."""
    before = state(host)
    yield
    assert state(host) == before


@pytest.fixture
def environment(tmp_path):
    """Make an inventory of one server that nobody can reach."""

    def make(**settings):
        children = {group: {"hosts": {"web1": {"ansible_host": NOBODY}}} for group in ("app", "db")}
        (tmp_path / "group_vars/servers").mkdir(parents=True)
        for name, content in (
            ("hosts.yml", {"servers": {"children": children}}),
            ("group_vars/servers/settings.yml", settings),
        ):
            (tmp_path / name).write_text(yaml.safe_dump(content))
        return tmp_path

    return make


def not_contacted(done):
    assert done.returncode != 0
    assert "unreachable=0" in done.stdout
    assert "changed=0" in done.stdout


def test_the_placeholders_of_a_new_environment_are_all_named_before_any_contact(playbook):
    done = playbook("site.yml", inventory=PROJECT / "inventory/prod")

    not_contacted(done)
    said = one_line(done.stdout)
    file = "inventory/prod/group_vars/servers/settings.yml"
    for name in ("app_name", "app_domain", "app_source", "app_asgi", "caddy_email"):
        told = re.search(rf"{name} still holds the placeholder CHANGE-ME(.*?)set in: (\S+)", said)
        assert told, f"{name} is not told of"
        assert "meaning: " in told[1]
        place, _, line = told[2].partition(":")
        assert place == file
        assert f"{name}: CHANGE-ME" in (PROJECT / file).read_text().splitlines()[int(line) - 1]
    assert "ansible_host still holds the placeholder CHANGE-ME" in said
    assert "6 settings of inventory/prod must be fixed; nothing was changed on any host" in said


def test_required_settings_come_with_an_example(playbook, environment):
    done = playbook("site.yml", inventory=environment(app_name="notes"))

    not_contacted(done)
    said = one_line(done.stdout)
    for name in ("app_domain", "app_source", "app_asgi"):
        assert re.search(rf"{name} is missing meaning: .*? example: {name}: \S+", said), name


def test_several_mistakes_are_told_in_one_run(playbook, environment):
    settings = {**GOOD, "app_workers": "two", "app_worker": 2, "caddy_email": ["me"]}
    del settings["app_asgi"]

    done = playbook("site.yml", inventory=environment(**settings))

    not_contacted(done)
    said = one_line(done.stdout)
    assert "4 settings of " in said
    assert "app_workers is 'two', must be a whole number" in said
    assert "app_worker is not a setting: did you mean app_workers?" in said
    assert "app_asgi is missing" in said
    assert "caddy_email is ['me'], must be a text" in said


def test_values_that_cannot_work_are_told_in_one_run(playbook, environment):
    settings = {
        **GOOD,
        "app_name": "Notes!",
        "app_domain": "https://notes.test/",
        "app_health_path": "healthz",
    }

    done = playbook("site.yml", inventory=environment(**settings))

    not_contacted(done)
    said = one_line(done.stdout)
    assert "3 settings of " in said
    assert "app_name 'Notes!' must be a lower-case letter" in said
    assert "app_domain 'https://notes.test/' is no DNS name; example: www.example.org" in said
    assert "app_health_path 'healthz' must begin with /" in said


@pytest.mark.parametrize("password", ["wrong", None])
def test_a_vault_without_its_password_stops_everything(
    playbook, environment, tmp_path_factory, password
):
    inventory = environment(**GOOD, app_secrets={"KEY": "{{ vault_key }}"})
    passwords = tmp_path_factory.mktemp("passwords")
    for name in ("right", "wrong"):
        (passwords / name).write_text(f"{name}\n")
    vault = inventory / "group_vars/servers/vault.yml"
    vault.write_text("vault_key: hush\n")
    encrypt = ["ansible-vault", "encrypt", f"--vault-password-file={passwords / 'right'}", vault]
    subprocess.run(encrypt, check=True, capture_output=True)

    given = [f"--vault-password-file={passwords / password}"] if password else []
    done = playbook("site.yml", *given, inventory=inventory)

    assert done.returncode != 0
    said = one_line(done.stdout)
    if password:
        assert "Decryption failed" in said
    else:
        assert "no vault secrets" in said
    assert "TASK" not in said, "something was done before the vault was opened"
    assert "hush" not in said


def test_a_version_that_does_not_exist_is_answered_with_those_that_do(
    host, untouched, playbook, application
):
    application.reset()
    application.git("tag", "--force", "v0.1.0")

    done = playbook(
        DEPLOY, "--tags=release", app_source=str(application.path), app_version="v9.9.9"
    )

    assert done.returncode != 0
    said = one_line(done.stdout)
    assert f"'v9.9.9' is no tag, branch or commit of {application.path}" in said
    assert "newest tags: v0.1.0; newest branches: " in said
    assert "Setting: app_version" in said


@pytest.mark.parametrize(
    ("files", "subdirectory", "says"),
    [
        ({"readme": ""}, "back end", "has no directory 'back end'. Setting: app_subdirectory"),
        (
            {"pyproject.toml": "[project]\nname = 'a'\n"},
            "",
            "pyproject.toml has no lock: its packages are not pinned. Setting: app_version Next: "
            "run `uv lock`",
        ),
        ({"readme": ""}, "", "There is no list of packages at the application's top"),
        (
            {"requirements.txt": "fastapi==0.1\n"},
            "",
            "does not pin every package by hash: fastapi==0.1 (requirements.txt:1). "
            "Setting: app_version Next: run `git mv requirements.txt requirements.in && "
            "uv pip compile requirements.in --universal --python-version 3.12 --generate-hashes",
        ),
    ],
    ids=["no subdirectory", "no lock", "nothing", "no hashes"],
)
def test_a_source_that_cannot_be_deployed_is_refused_on_the_control_node(
    host, untouched, playbook, tmp_path, files, subdirectory, says
):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    identity = ["-c", "user.name=Tests", "-c", "user.email=tests@example.org"]
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=Go"]):
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)

    done = playbook(
        DEPLOY, "--tags=release", app_source=str(tmp_path), app_subdirectory=subdirectory
    )

    assert done.returncode != 0
    assert says in one_line(done.stdout)
    assert "changed=0" in done.stdout


def test_an_account_without_sudo_is_told_so(host, playbook):
    home = host.user("deploy").home
    host.check_output(
        "useradd --create-home --shell /bin/sh nosudo && "
        f"install -D -o nosudo -m 0600 {home}/.ssh/authorized_keys ~nosudo/.ssh/authorized_keys"
    )
    before = state(host)
    try:
        done = playbook("playbooks/provision.yml", ansible_user="nosudo")
        assert state(host) == before
    finally:
        # In order: a user manager that is killed would stay behind as a failed unit.
        host.run("loginctl terminate-user nosudo; systemctl stop user@$(id -u nosudo).service")
        host.check_output("pkill -KILL --uid nosudo; userdel --remove nosudo 2>&1")

    assert done.returncode != 0
    said = one_line(done.stdout)
    assert "web1: the account that Ansible logs in with could not become root" in said
    assert "so nothing was changed" in said
    assert "usermod -aG sudo" in said
    assert "changed=0" in done.stdout


def test_apt_being_busy_ends_the_run_in_bounded_time(host, playbook):
    host.check_output(f'systemd-run --quiet --unit=holds-apt /usr/bin/python3 -c "{HOLD_APT}"')
    began = time.monotonic()
    try:
        done = playbook(
            "playbooks/provision.yml",
            "--tags=base",
            base_apt_lock_timeout_seconds=3,
            base_extra_packages=["hello"],
        )
    finally:
        host.check_output("systemctl stop holds-apt")

    assert done.returncode != 0
    assert time.monotonic() - began < 60
    assert "lock" in one_line(done.stdout)
    assert "Traceback" not in done.stdout
    assert not host.package("hello").is_installed


def test_a_disk_that_is_too_full_is_told_before_anything_is_unpacked(
    host, site, playbook, application
):
    application.reset()
    deploy = {"app_source": str(application.path)}
    assert playbook(DEPLOY, **deploy).returncode == 0
    live, before = site.release(), host.file(f"{HOME}/releases").listdir()

    done = playbook(DEPLOY, "--tags=release", **deploy, app_workers=1, release_disk_free_mb=10**8)

    assert done.returncode != 0
    said = one_line(done.stdout)
    assert re.search(r"/srv/linkboard has \d+ MB free, this release needs 1\d{8} MB", said)
    assert "phase: prepare" in said
    assert "nothing was unpacked" in said
    assert f"live now: {live}" in said
    assert host.file(f"{HOME}/releases").listdir() == before
    assert site.release() == live
    # The next ordinary run brings the ordinary limit back.
    assert playbook(DEPLOY, "--tags=release", **deploy).returncode == 0
    assert site.release() == live
