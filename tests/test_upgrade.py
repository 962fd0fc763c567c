"""roles/upgrade: what its program makes of what apt, dpkg and /proc say, without a server."""

import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent.parent / "roles/upgrade/files"))

from upgrades import apps, checks, clusters, major, packages, stale, system

SIMULATED = """Reading package lists...
The following packages have been kept back:
  linux-image-amd64
  libheld1
The following packages will be upgraded:
  postgresql-15
Inst libssl3 [3.0.1-1] (3.0.2-1 Debian-Security:12/oldstable-security [amd64]) []
Inst postgresql-15 [15.1-0] (15.2-0 Debian:12.5/oldstable [amd64])
Inst linux-image-6.1.0-40-amd64 (6.1.1 Debian-Security:12/oldstable-security [amd64])
Conf libssl3 (3.0.2-1 Debian-Security:12/oldstable-security [amd64])
"""
POLICY = """Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://archive.test/debian-security {0}-security/main amd64 Packages
     release v=13,o=Debian,a=stable-security,n={0}-security,l=Debian-Security,c=main,b=amd64
 500 http://archive.test/debian {1}/main amd64 Packages
     release v=12.15,o=Debian,a=oldstable,n={1},l=Debian,c=main,b=amd64
 500 http://another.test/repository any/main amd64 Packages
     release o=another,a=any,n=whatever,l=another,c=main,b=amd64
"""


def test_the_playbook_has_all_roles_that_provision_has():
    playbooks = Path(__file__).parent.parent / "playbooks"

    def roles(name):
        play = yaml.safe_load((playbooks / name).read_text())[0]
        return [role["role"] for role in play["roles"]]

    # The wiring names what is in them, so that a role left out here would end an upgrade.
    assert roles("upgrade.yml") == ["preflight", "upgrade", *roles("provision.yml")[1:]]


@pytest.fixture
def says(monkeypatch):
    """Have a program say something."""

    def answer(text, module=packages):
        monkeypatch.setattr(module, "run", lambda *_, **__: text)

    return answer


def test_updates_are_read_from_what_apt_would_do(says):
    says(SIMULATED)
    updates = packages.pending()
    assert [str(update) for update in updates] == [
        "libssl3 3.0.1-1 -> 3.0.2-1",
        "postgresql-15 15.1-0 -> 15.2-0",
        "linux-image-6.1.0-40-amd64 (new) -> 6.1.1",
    ]
    assert packages.servers(updates) == ["postgresql-15"]
    assert packages.kept_back() == ["linux-image-amd64", "libheld1"]


def test_a_new_server_package_restarts_nothing():
    updates = [
        packages.Update("postgresql-17", "", "17.1"),
        packages.Update("postgresql", "1", "2"),
    ]
    assert packages.servers(updates) == []


@pytest.mark.parametrize(
    ("security", "main", "foreign"),
    [
        ("trixie", "trixie", []),
        ("trixie", "bookworm", ["bookworm"]),
        ("forky", "sid", ["forky", "sid"]),
    ],
)
def test_sources_of_another_release_are_found(says, monkeypatch, security, main, foreign):
    says(POLICY.format(security, main))
    read = Path.read_text
    monkeypatch.setattr(
        Path,
        "read_text",
        lambda path: (
            "ID=debian\nVERSION_CODENAME=trixie\n" if str(path) == "/etc/os-release" else read(path)
        ),
    )
    assert packages.foreign_releases() == foreign


def test_packages_of_the_old_version_name_those_of_the_new_one(says):
    says(
        "ii  postgresql-15\nii  postgresql-client-15\nii  postgresql-15-cron\n"
        "rc  postgresql-15-old\nii  postgresql-common\nii  postgresql-150\n"
    )
    assert packages.of_version(15) == [
        "postgresql-15",
        "postgresql-client-15",
        "postgresql-15-cron",
    ]
    assert packages.for_version(15, 17) == [
        "postgresql-17",
        "postgresql-client-17",
        "postgresql-17-cron",
    ]


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """Processes: pid -> (program, what it has mapped, its unit)."""

    def make(**processes):
        for pid, (program, maps, unit) in processes.items():
            path = tmp_path / pid.removeprefix("p")
            path.mkdir()
            (path / "exe").symlink_to(program)
            (path / "maps").write_text(maps)
            (path / "cgroup").write_text(f"1:name=systemd:/\n0::/system.slice/{unit}\n")
        monkeypatch.setattr(stale, "PROC", tmp_path)
        monkeypatch.setattr(
            stale, "show", lambda unit, _: "oneshot" if unit == "job.service" else "simple"
        )
        return stale.units()

    return make


def test_services_are_restarted_for_replaced_programs_and_libraries_only(proc):
    library = "7f00-7f01 r-xp 0000 00:01 1 /usr/lib/libssl.so.3 (deleted)\n"
    assert proc(
        p1=("/usr/lib/systemd/systemd", library, "init.scope"),
        p10=("/usr/sbin/web (deleted)", "", "web.service"),
        p11=("/usr/sbin/web", "7f00 rw-s 0 0 0 /dev/zero (deleted)\n", "memory.service"),
        p12=("/usr/bin/python3", library, "notes.slice/notes@blue.service"),
        p13=("/usr/bin/dbus-daemon", library, "dbus.service"),
        p14=("/usr/sbin/agetty", library, "getty@tty1.service"),
        p15=("/usr/bin/pgbackrest", library, "job.service"),
    ) == ["dbus.service", "init", "notes@blue.service", "web.service"]
    assert "dbus.service" not in stale.restartable()


def test_kernels_are_compared_by_their_numbers():
    assert stale.parts("6.1.0-40-amd64") > stale.parts("6.1.0-9-amd64")


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server with clusters: version/name -> port."""

    def make(**ports):
        for name, port in ports.items():
            version, cluster = name.removeprefix("v").split("_")
            file = tmp_path / version / cluster / "postgresql.conf"
            file.parent.mkdir(parents=True)
            file.write_text(f"#port = 1\nport = {port}\t\t\t# (change requires restart)\n")
        monkeypatch.setattr(clusters, "CONFIGURATIONS", tmp_path)

    return make


def test_the_cluster_on_the_usual_port_serves(server):
    server(v15_main=5433, v17_main=5432, v16_another=5434)
    assert str(clusters.serving()) == "17/main"
    assert [str(cluster) for cluster in clusters.mains()] == ["15/main", "17/main"]
    assert clusters.free_port() == 5435


def test_a_server_without_a_cluster_has_nothing_to_upgrade(server):
    server()
    assert clusters.serving() is None
    assert "no cluster" in checks.refusals(None, 17, rehearsal=True)[0]


def test_an_older_version_is_no_upgrade():
    assert "only be upgraded to a newer one" in checks.refusals(clusters.Cluster(17), 17, True)[0]


def test_files_of_the_new_cluster_lie_elsewhere_in_a_rehearsal():
    file = {"path": "/etc/postgresql/17/main/conf.d/pergola.conf", "content": ""}
    assert major.is_of(file, clusters.Cluster(17))
    assert not major.is_of(file, clusters.Cluster(15))
    assert major.moved(file, 17) == "/etc/postgresql/17/rehearsal/conf.d/pergola.conf"


def test_nothing_is_written_that_is_as_it_should_be(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(major, "write", lambda path, *_: written.append(path.name))
    (tmp_path / "same").write_text("a")
    (tmp_path / "other").write_text("a")
    wanted = {"same": "a", "other": "b", "new": "c"}
    major.write_files([{"path": str(tmp_path / n), "content": c} for n, c in wanted.items()])
    assert written == ["other", "new"]


def test_a_failure_is_told_with_its_evidence():
    with pytest.raises(system.UpgradeError) as failed:
        system.run("sh", "-c", "echo reason >&2; exit 3")
    assert str(failed.value) == "`sh -c 'echo reason >&2; exit 3'` ended with 3\nreason"


def test_what_ends_a_page_that_somebody_else_has_put_there_is_left_alone(monkeypatch, tmp_path):
    class Said:
        stdout = (
            "notes@blue.socket loaded active running x\n"
            "notes@blue.service loaded active running x\n"
            "notes.maintenance-ends.timer loaded active waiting x\n"
        )

    monkeypatch.setattr(apps, "systemctl", lambda *_: Said)
    assert apps.App(tmp_path / "notes").units() == ["notes@blue.socket", "notes@blue.service"]
