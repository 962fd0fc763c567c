"""Who may read and write what, by trying it as each account."""

import re
import subprocess

import pytest
import scenario

testinfra_hosts = ["ansible://web1"]

SECRET = "a[ ]secret of the tests"  # app_credentials of the scenario, as sudo may log it
STRANGERS = ("nobody", "linkboard-build", "caddy")


@pytest.fixture(scope="module")
def release(host):
    """The directory of the live release."""
    green = host.file("/srv/linkboard/live/green").exists
    return host.check_output(f"realpath /srv/linkboard/slots/{'green' if green else 'blue'}")


def may(host, account, test, *paths):
    """Those of the paths that an account may read (-r), write (-w), or enter (-x)."""
    script = f'for path; do if test {test} "$path"; then echo "$path"; fi; done'
    words = " ".join("%s" for _ in paths)
    return host.check_output(
        f"runuser -u {account} -- sh -c %s sh {words}", script, *paths
    ).splitlines()


def described(host, *paths):
    """Mode, owner and group of paths."""
    words = " ".join("%s" for _ in paths)
    return host.check_output(f"stat --format '%%a %%U:%%G %%n' {words}", *paths).splitlines()


def test_only_caddy_and_root_can_open_the_sockets(host):
    # The slot that was live before the last deploy closes its own when its requests are answered.
    one = 'until [ "$(ls /run/linkboard/*.sock | wc -l)" = 1 ]; do sleep 1; done'
    host.check_output(f"timeout 60 sh -c '{one}'")
    paths = host.check_output("ls -d /run/linkboard/*.sock").splitlines()
    assert described(host, *paths) == [f"660 root:caddy {path}" for path in paths]
    assert may(host, "caddy", "-w", *paths) == paths
    for account in ("nobody", "linkboard", "linkboard-build"):
        assert may(host, account, "-w", *paths) == [], account


def test_nobody_can_put_a_socket_of_their_own_there(host):
    assert described(host, "/run/linkboard") == ["755 root:root /run/linkboard"]
    for account in ("linkboard", *STRANGERS):
        assert may(host, account, "-w", "/run/linkboard") == [], account


def test_the_environment_is_for_the_application_only(host, release):
    path = f"{release}/environment"
    assert described(host, path) == [f"640 root:linkboard {path}"]
    assert may(host, "linkboard", "-r", path) == [path]
    for account in STRANGERS:
        assert may(host, account, "-r", path) == [], account


def test_credentials_and_what_was_sent_are_for_root_only(host, release):
    paths = [
        f"{release}/credentials",
        f"{release}/credentials/probe",
        "/srv/linkboard/incoming",
        "/srv/linkboard/settings.json",
    ]
    modes = ["700", "600", "700", "600"]
    wanted = [f"{mode} root:root {path}" for mode, path in zip(modes, paths, strict=True)]
    assert described(host, *paths) == wanted
    for account in ("linkboard", *STRANGERS):
        assert may(host, account, "-r", *paths) == [], account


def test_the_application_cannot_change_what_it_runs(host, release):
    owned = [
        *(release, f"{release}/code", f"{release}/venv", f"{release}/venv/bin/python"),
        *(f"{release}/environment", f"{release}/release.json"),
        *("/srv/linkboard", "/srv/linkboard/releases", "/srv/linkboard/slots"),
        *("/srv/linkboard/live", "/srv/linkboard/assets", "/srv/linkboard/bin/release"),
        *("/srv/linkboard/ledger.jsonl", "/etc/systemd/system", "/etc/caddy"),
    ]
    assert may(host, "linkboard", "-e", *owned) == owned
    assert may(host, "linkboard", "-w", *owned) == []
    found = host.check_output(
        f"runuser -u linkboard -- find {release} /srv/linkboard/assets -writable "
        "-not -type l 2>/dev/null || true"
    )
    assert found == ""


def test_all_that_the_application_imports_was_compiled_when_it_was_built(host, release):
    """It cannot write compiled files itself: each start would compile again."""
    said = host.check_output(
        f"cd {release}/code && runuser -u linkboard -- {release}/venv/bin/python -v "
        "-c 'import linkboard.main' 2>&1"
    )
    assert f"matches {release}/venv/lib" in said
    compiled_now = rf"code object from '?{release}\S*\.py'?$"
    assert re.findall(compiled_now, said, re.MULTILINE) == []


def test_what_the_application_needs_it_can_read(host, release):
    paths = [f"{release}/code/pyproject.toml", f"{release}/venv/bin/uvicorn", "/var/lib/linkboard"]
    assert may(host, "linkboard", "-r", *paths) == paths
    assert may(host, "linkboard", "-w", "/var/lib/linkboard") == ["/var/lib/linkboard"]


def test_the_applications_own_directory_is_closed_to_others(host):
    assert described(host, "/var/lib/linkboard") == ["750 linkboard:linkboard /var/lib/linkboard"]
    for account in STRANGERS:
        assert may(host, account, "-x", "/var/lib/linkboard") == [], account


def test_the_account_that_builds_owns_nothing_and_reaches_no_secret(host, release):
    paths = [release, f"{release}/release.json", "/srv/linkboard", "/srv/linkboard/assets"]
    assert may(host, "linkboard-build", "-w", *paths) == []
    assert may(host, "linkboard-build", "-r", f"{release}/release.json", f"{release}/code") == []
    assert host.check_output("find /srv /var/lib /run -xdev -user linkboard-build") == ""
    refused = host.run("runuser -u linkboard-build -- psql -w -d linkboard -c 'select 1'")
    assert 'role "linkboard-build" does not exist' in refused.stderr


def test_a_release_is_for_its_application_only(host, release):
    assert described(host, release) == [f"750 root:linkboard {release}"]
    for account in STRANGERS:
        assert may(host, account, "-r", f"{release}/code/pyproject.toml") == [], account


def test_the_cache_of_packages_is_out_of_everybodys_reach(host):
    cache = "/var/cache/linkboard-build"
    assert described(host, cache) == [f"700 root:root {cache}"]
    for account in ("linkboard", *STRANGERS):
        assert may(host, account, "-x", cache) == [], account


def test_accounts_of_the_application_have_no_shell_and_no_password(host):
    for name in ("linkboard", "linkboard-build"):
        assert host.user(name).shell == "/usr/sbin/nologin"
        assert host.check_output("passwd --status %s", name).split()[1] in ("L", "LK")
        assert host.user(name).groups == [name]


def test_the_secret_is_not_in_the_journal(host):
    host.check_output("journalctl --sync")
    assert host.run("journalctl --output cat --all --grep %s", SECRET).stdout == ""


def test_the_secret_is_only_where_it_belongs(host, release):
    found = host.run(
        "grep --recursive --files-with-matches --no-messages --exclude-dir journal %s "
        "/etc /srv /root /home /opt /var/log /var/tmp /tmp /var/lib/linkboard /var/cache",
        SECRET,
    ).stdout.splitlines()
    assert f"{release}/credentials/probe" in found
    for path in found:
        in_release = path.startswith("/srv/linkboard/releases/") and "/credentials/" in path
        assert in_release or path.startswith("/srv/linkboard/incoming/")


def test_no_file_of_the_application_is_writable_by_everybody(host):
    paths = "/srv /etc/caddy /etc/systemd/system /etc/postgresql /var/lib/linkboard /run/linkboard"
    assert host.check_output(f"find {paths} -not -type l -perm -o+w") == ""


def login(name, *command):
    return subprocess.run(
        [
            *("ssh", "-F", "/dev/null", "-i", scenario.RUN / "id_ed25519"),
            *("-o", f"UserKnownHostsFile={scenario.RUN / 'known_hosts'}"),
            *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "ControlPath=none"),
            *("-o", "StrictHostKeyChecking=yes"),
            *(f"{name}@{scenario.address('web1')}", "--", *command),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_an_operator_logs_in_by_key_and_becomes_root():
    done = login("ada", "id -un && sudo -n id -un")
    assert done.stdout.split() == ["ada", "root"], done.stderr


def test_an_operator_reads_the_journal_without_sudo(site):
    site.get("/login")
    done = login("ada", "journalctl --unit 'linkboard@*' --lines 1 --output cat")
    assert done.stdout.strip(), done.stderr


def test_an_operator_has_no_password(host):
    assert host.check_output("passwd --status ada").split()[1] in ("L", "LK")


def test_only_people_have_keys(host):
    # Not tried over SSH: sshd would shut this machine out for a while after some refusals.
    found = host.check_output(
        "getent passwd | cut --delimiter : --fields 1,6 | while IFS=: read -r name home; do "
        'if test -s "$home/.ssh/authorized_keys"; then echo "$name"; fi; done'
    )
    assert set(found.split()) == {"ada", "deploy"}


def test_sudo_is_given_to_operators_by_a_file_that_sudo_accepts(host):
    assert host.run("visudo --check --quiet").rc == 0
    assert described(host, "/etc/sudoers.d/90-pergola-operators") == [
        "440 root:root /etc/sudoers.d/90-pergola-operators"
    ]
