"""What a release gets as environment: the settings, the file, and how it reaches its database."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import FileVaultSecret
from ansible.template import Templar, trust_as_template
from runs import clean_environment
from test_systems import SYSTEMS, Host

ROOT = Path(__file__).parents[2]
LIBPQ = {"PGHOST": "/run/postgresql", "PGDATABASE": "notes", "PGUSER": "notes"}


def made(host, vault=None):
    """What role release hands over as environment and as secrets."""
    loader = DataLoader()
    if vault:
        loader.set_vault_secrets([("default", vault)])
    templar = Templar(loader, host.variables)
    parts = templar.template(trust_as_template("{{ __release_config }}"))
    return parts["environment"], parts["secrets"]


@pytest.fixture
def host(tmp_path):
    def of(**settings):
        found = Host(SYSTEMS["trixie"], **settings)
        found.variables["inventory_dir"] = str(tmp_path)
        found.variables |= {"__release_pythons": "3.13"}
        return found

    return of


def test_values_arrive_as_they_stand_there_and_the_database_s_variables_with_them(host):
    settings = {"A": "0755", "B": True, "C": ["x", 1], "D": {"k": None}, "E": "a\nb", "F": None}
    assert made(host(app_environment=settings))[0] == {
        **LIBPQ,
        "A": "0755",
        "B": "true",
        "C": '["x", 1]',
        "D": '{"k": null}',
        "E": "a\nb",
    }


def test_what_is_set_beats_the_database_s_variables(host):
    found = host(app_environment={"PGHOST": "db.example.org", "PGUSER": None})
    assert made(found)[0] == {"PGHOST": "db.example.org", "PGDATABASE": "notes"}


def test_separate_variables_and_a_url_come_from_app_database(host):
    found = host(
        app_environment={
            "DB_HOST": "{{ app_database.host }}",
            "DB_PORT": "{{ app_database.port }}",
            "DB_NAME": "{{ app_database.name }}",
            "DB_USER": "{{ app_database.user }}",
            "DB_URL": "{{ app_database.url }}",
        }
    )
    assert found.broken() == ""
    assert made(found)[0] == {
        **LIBPQ,
        "DB_HOST": "/run/postgresql",
        "DB_PORT": "5432",
        "DB_NAME": "notes",
        "DB_USER": "notes",
        "DB_URL": "postgresql:///notes",
    }


def test_a_database_of_another_name_is_the_one_that_is_meant_everywhere(host):
    found = host(app_databases=[{"name": "shop"}, {"name": "archive"}])
    assert made(found)[0]["PGDATABASE"] == "shop"
    assert found("release_database") == "dbname=shop"
    assert found("__app_restore_checks.database") == "shop"
    assert host(app_databases=[{"name": "a"}, {"name": "notes"}])("app_database.name") == "notes"


def test_by_tcp_the_same_templates_have_an_address_and_a_password_that_only_the_host_knows(host):
    names = {name: f"{{{{ app_database.{name} }}}}" for name in ("host", "user", "password", "url")}
    found = host(app_environment=names, app_database_tcp=True)
    assert found.broken() == ""
    environment, secrets = made(found)
    assert environment == {
        **LIBPQ,
        "PGHOST": "127.0.0.1",
        "host": "127.0.0.1",
        "user": "notes",
        "password": "__PERGOLA_DATABASE_PASSWORD__",
        "url": "postgresql://notes:__PERGOLA_DATABASE_PASSWORD__@127.0.0.1:5432/notes",
    }
    assert secrets == {"PGPASSWORD": "__PERGOLA_DATABASE_PASSWORD__"}
    assert found("__app_order.tcp") is True
    assert host()("__app_order.tcp") is False
    assert host(app_environment=names)("app_database.password") == ""


def test_the_migrations_role_is_made_with_the_limits_that_a_release_migrates_within(host):
    found = host(
        app_migrate_lock_timeout_seconds="7", app_migrate_statement_timeout_seconds="{{ 6 * 7 }}"
    )
    limits = found("__app_order.migrate_limits")
    assert limits == {"lock_timeout": 7, "statement_timeout": 42}
    assert found("__release_settings.migrate_limits") == limits


URL = "postgresql://shop:hush@db.example.org/shop"


def test_a_database_of_another_server_is_in_libpqs_variables_and_its_password_a_secret(host):
    found = host(app_database_url=URL, app_secrets={"DATABASE_URL": "{{ app_database.url }}"})
    assert found.broken() == ""
    environment, secrets = made(found)
    assert environment == {
        "PGHOST": "db.example.org",
        "PGPORT": "5432",
        "PGDATABASE": "shop",
        "PGUSER": "shop",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/etc/ssl/certs/ca-certificates.crt",
    }
    assert secrets == {
        "PGPASSWORD": "hush",
        "DATABASE_URL": "postgresql://shop:hush@db.example.org:5432/shop",
    }
    assert found("__release_settings.database") == ""
    assert found("__release_settings.database_elsewhere") is True


@pytest.mark.parametrize("groups", [["app", "servers"], ["app", "db", "servers"]])
def test_nothing_of_the_servers_own_postgresql_is_used_for_it(host, groups):
    found = host(app_database_url=URL)
    found.variables["group_names"] = groups
    assert found("app_has_database") is False
    assert found("app_after_units") == []
    assert found("release_backup_command") == ""
    assert found("remove_databases") == []
    order = found("__app_order")
    assert (order["databases"], order["connections"], order["has_database"]) == ([], 0, False)
    assert "postgresql-client" in order["packages"]


def test_a_server_with_postgresql_may_have_an_application_without_a_database(host):
    found = host(app_databases=[], app_environment={"A": "b"})
    assert found.broken() == ""
    assert made(found) == ({"A": "b"}, {})
    assert found("__app_order.databases") == []
    assert found("__app_order.has_database") is False
    assert found("release_database") == found("release_backup_command") == ""
    assert found("release_database_elsewhere") is False


def test_the_connections_of_all_servers_are_counted(host):
    found = host(app_workers=2, app_database_connections=10)
    found.variables["groups"] = {"app": ["web1", "web2"]}
    assert found("__release_settings.connections") == 80


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"app_database_url": "mysql://s:hush@h/x"}, "app_database_url is no URL of a PostgreSQL"),
        (
            {"app_database_url": URL, "app_database_tcp": True},
            "app_database_tcp is for the server's own PostgreSQL",
        ),
        (
            {"app_database_tcp": True, "app_databases": []},
            "app_database_tcp: app_databases is empty",
        ),
        (
            {"app_database_url": URL, "app_databases": [{"name": "a", "extensions": ["vector"]}]},
            "app_databases are made in the server's own PostgreSQL",
        ),
        (
            {"app_database_url": URL, "app_restore_checks": ["select 1"]},
            "app_restore_checks: there is no database",
        ),
        (
            {"app_database_url": URL, "app_environment": {"U": "{{ app_database.url }}"}},
            "app_environment: U: it holds the password of app_database_url; put it into",
        ),
        (
            {
                "app_database_tcp": True,
                "app_processes": [{"name": "w", "command": "w {{ app_database.url }}"}],
            },
            "app_processes, w: every account of the server sees a command",
        ),
        (
            {"app_database_url": URL, "app_migrate_command": "m {{ app_database.password }}"},
            "app_migrate_command: every account of the server sees a command",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_by_name(host, settings, says):
    said = host(**settings).broken()
    assert says in said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("phase", "says"),
    [("migrate_after", "is live, but app_migrate_after_command failed"), ("gate", "failed")],
)
def test_what_fails_after_the_switch_is_no_failed_release(host, phase, says):
    found = host()
    found.variables |= {"__release_outcome": {"verdict": "failed"}}
    found.variables |= {"__release_failed_phase": phase}
    assert found("__release_ended").strip() == says


def test_a_first_command_after_the_switch_is_a_phase_of_its_own(host):
    assert host()("__release_phases")[-1] == "drain"
    found = host(app_migrate_after_command="psql -f after.sql")
    assert found("__release_phases")[-2:] == ["drain", "migrate_after"]
    assert "after_migrate_after.yml" in found("__release_known_hooks")


def test_what_the_procfile_says_is_part_of_a_release_and_counts_for_the_database(host):
    said = {"migrate_command": "up", "processes": [{"name": "worker", "command": "w"}]}
    found = host(app_procfile_found={"settings": said, "said": []})
    found.variables["__release_found"] = {"procfile": {"settings": said, "said": []}}
    assert found("__release_made.migrate_command") == "up"
    assert found("__release_made.processes") == [
        {
            "name": "worker", "command": "w", "overlap": False, "drain_seconds": 30, "shell": True,
            "memory_max": "", "stop_signal": "",
        }
    ]  # fmt: skip
    assert found("__app_order.connections") == 15 * 2 * (2 + 1)
    assert not found("__app_order.keeps_connections")
    assert host()("__app_order.keeps_connections")  # nobody has looked
    assert not host(app_procfile="")("__app_order.keeps_connections")


def test_settings_that_are_set_win_over_the_procfile(host):
    assert host()("release_settled") == []
    assert host(app_migrate_command="up")("release_settled") == ["app_migrate_command"]
    assert host(app_uvicorn_options=["--ws=none"])("release_settled") == ["app_server"]
    processes = [{"name": "worker", "command": "w"}]
    found = host(app_server="granian", app_processes=processes)
    assert found("release_settled") == ["app_processes", "app_server"]


def test_a_setting_wins_whatever_its_value_is(host):
    for setting in ("app_migrate_command", "app_processes", "app_server"):
        assert host(**{setting: host()(setting)})("release_settled") == [setting]
    for setting in ("app_uvicorn_options", "app_server_options"):
        assert host(**{setting: []})("release_settled") == ["app_server"]
    assert host(app_web=True)("release_settled") == []


def test_what_a_role_has_by_default_is_no_setting(tmp_path):
    """As Ansible itself has it: `hostvars` holds the inventory's variables only."""
    (tmp_path / "hosts").write_text("app ansible_connection=local app_processes=[] app_web=false\n")
    (tmp_path / "it.yml").write_text(
        "- hosts: app\n  gather_facts: false\n  vars_files: [{files}]\n"
        '  tasks: [{{debug: {{msg: "{{{{ release_settled }}}} {{{{ app_server }}}}"}}}}]\n'
        "  roles: [{{role: {role}, when: false}}]\n".format(
            files=ROOT / "group_vars/all/wiring.yml", role=ROOT / "roles/app"
        )
    )
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", "-i", "hosts", "it.yml"],
        cwd=tmp_path,
        env=clean_environment(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), HOME=str(tmp_path)),
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert "['app_processes', 'app_web'] uvicorn" in said, said


def test_an_application_without_a_database_gets_none_of_it(host):
    found = host(app_environment={"A": "b"})
    found.variables["group_names"] = ["app", "servers"]
    assert made(found)[0] == {"A": "b"}


def test_a_file_of_variables_is_secret_and_beaten_by_the_settings(host, tmp_path):
    (tmp_path / ".env").write_text("A=file\nB=file\nC=file\nTEMPLATE={{ app_name }}\n")
    found = host(app_environment_file=".env", app_environment={"A": 1}, app_secrets={"B": "x"})
    assert found.broken() == ""
    environment, secrets = made(found)
    assert environment == {**LIBPQ, "A": "1"}
    assert secrets == {"B": "x", "C": "file", "TEMPLATE": "{{ app_name }}"}


def test_an_encrypted_file_is_decrypted_by_ansible(host, tmp_path):
    (tmp_path / "password").write_text("right\n")
    (tmp_path / ".env").write_text("A=hush\n")
    program = Path(sys.executable).with_name("ansible-vault")
    encrypt = [program, "encrypt", "--vault-password-file", tmp_path / "password"]
    subprocess.run([*encrypt, tmp_path / ".env"], check=True, capture_output=True)
    vault = FileVaultSecret(filename=str(tmp_path / "password"), loader=DataLoader())
    vault.load()
    found = host(app_environment_file=".env")
    assert made(found, vault)[1] == {"A": "hush"}
    assert "cannot be decrypted; add --ask-vault-pass" in found.broken()


# -- the Python it runs with -----------------------------------------------------------------------


def ordered(host):
    """What the server is told of a release's Python."""
    found = dict.fromkeys(OF_COMMIT, "") | {"procfile": {"settings": {}}}
    host.variables |= {"__release_found": found}
    templar = Templar(DataLoader(), host.variables)
    text = "{{ __release_manifest | combine(__release_build_access) }}"
    return templar.template(trust_as_template(text))


OF_COMMIT = ["id", "commit", "installer", "describe", "date", "lock", "directory"]
OF_COMMIT += ["version_variables", "exported"]


def test_a_release_runs_with_the_servers_own_unless_another_was_chosen(host):
    found = ordered(host())
    assert (found["python"], found["interpreter"], found["python_builds"]) == ("3.13", "", {})
    one = host(app_python_mirror="https://mirror.example.org")
    chosen = {"version": "3.12.4", "interpreter": "/opt/x/bin/python3.12", "builds": {}}
    one.variables["__preflight_python"] = chosen
    found = ordered(one)
    assert found["interpreter"] == "/opt/x/bin/python3.12"
    assert found["python_mirror"] == "https://mirror.example.org"


def test_the_chosen_python_is_part_of_what_makes_a_release(host):
    one = host()
    role = yaml.safe_load((ROOT / "roles/release/vars/main.yml").read_text())
    one.variables["__release_pythons"] = trust_as_template(role["__release_pythons"])
    own = {"__release_brought": {"python": "3.13"}}
    other = {**own, "release_python": {"version": "3.12.4"}}
    one.variables |= {"ansible_play_hosts_all": ["a", "b"], "groups": {"app": ["a", "b"]}}
    one.variables["hostvars"] = {"a": own, "b": own}
    assert one("__release_pythons") == "3.13"
    one.variables["hostvars"] = {"a": own, "b": other}
    assert one("__release_pythons") == "3.12.4, 3.13"


@pytest.mark.parametrize("python", ["3.14", "3.12.4", ""])
def test_a_version_of_python_is_taken(host, python):
    assert host(app_python=python).broken() == ""


@pytest.mark.parametrize("python", ["3.1", "python3.12", ">=3.12", "3", "2.7", "3.9", "3.x"])
def test_what_is_no_version_of_python_is_refused(host, python):
    assert 'app_python: "3.10"' in host(app_python=python).broken()


def test_a_mirror_is_an_address_or_a_file_beside_the_inventory(host, tmp_path):
    assert "app_python_mirror" in host(app_python_mirror="mirror.example.org").broken()
    assert "app_python_mirror" in host(app_python_mirror="builds.json").broken()
    assert "would be shown" in host(app_python_mirror="https://me:secret@m.example").broken()
    (tmp_path / "builds.json").touch()
    assert host(app_python_mirror="builds.json").broken() == ""
    assert host(app_python_mirror="https://mirror.example.org/x").broken() == ""


# -- the distribution's packages -------------------------------------------------------------------


def test_the_server_is_told_what_is_asked_for_and_what_the_lock_needs(host):
    one = host(app_system_packages=["ffmpeg"])
    needs = {"run": {"libpq5": "uv.lock: psycopg2"}, "build": {"uv.lock: psycopg2": ["gcc"]}}
    one.variables["__preflight_found"] = {"system_packages": needs, "needs": ["git"]}
    told = one("__app_order")
    system = {"asked": ["ffmpeg"], "known": needs["run"], "build": needs["build"]}
    assert told["system"] == {**system, "required": {}}
    assert "git" in told["packages"]


def test_what_is_installed_is_said_with_its_reason(host):
    one = host()
    look = {"packages": ["ffmpeg (app_system_packages)"], "restart": {}, "site": {}}
    one.variables |= {"__app_look": look, "ansible_check_mode": True}
    one.variables |= {"__app_plain_http": False, "__app_certificates": "own"}
    said = next(str(one_of).strip() for one_of in one("__app_reports_of_look") if one_of)
    assert "would get of the distribution's packages:" in said
    assert said.endswith("ffmpeg (app_system_packages).")


@pytest.mark.parametrize("name", ["FFmpeg", "lib pq5", "-y"])
def test_what_is_no_name_of_a_package_is_refused(host, name):
    assert "app_system_packages" in host(app_system_packages=[name]).broken()
