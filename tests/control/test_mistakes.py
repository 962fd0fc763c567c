"""Mistakes of the first hour: each run says what is wrong, where, and what to do; once.

A command is typed into a shell in a clone of Pergola, with an inventory that is right but for the
one mistake. Its `ssh` notes that it was called and answers as a server would. What only a server
can tell is seen on booted hosts (molecule/default/tests/test_bad_input.py, and `brownfield`).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from desk import ADDRESS, HOSTS, SETTINGS, Desk, answers

SITE = "ansible-playbook site.yml -i inventory/prod"
DEPLOY = "ansible-playbook playbooks/deploy.yml -i inventory/prod"
VAULT = "inventory/prod/group_vars/servers/vault.yml"
# Runs what Ansible sends: that is sudo's, and the one in this PATH lets nobody become root.
LOGS_IN = 'for last; do :; done; exec sh -c "$last"'
# Answers to one question: what is noted there of whom it belongs to.
PROVISIONED = (
    """case "$*" in *made-by.json*) echo '{"inventory": "linkboard"}' ;; *) exit 1 ;; esac"""
)


@dataclass(frozen=True)
class Mistake:
    """What somebody does, and what the run must say of it."""

    name: str
    what: str
    where: str
    following: str
    command: str = SITE
    # Texts of the two files, and what stands there instead.
    settings: dict = field(default_factory=dict)
    hosts: dict = field(default_factory=dict)
    files: dict = field(default_factory=dict)
    ssh: str = ""  # nobody may be contacted
    directory: str = "."
    environment: dict = field(default_factory=dict)


def added(text):
    """Lines at the end of the settings that all inventories have."""
    return {"app_workers: 2\n": f"app_workers: 2\n{text}\n"}


WRONG_COMMANDS = (
    Mistake(
        "an inventory that is misspelt",
        what="does not exist",
        where="-i inventory/prdo",
        following="did you mean -i inventory/prod?",
        command="ansible-playbook site.yml -i inventory/prdo",
    ),
    Mistake(
        "no inventory",
        what="no inventory was named",
        where="inventory/demo, inventory/prod, inventory/staging",
        following="add -i inventory/prod",
        command="ansible-playbook site.yml",
    ),
    Mistake(
        "all inventories at once",
        what="is several inventories",
        where="-i inventory",
        following="name one of them",
        command="ansible-playbook site.yml -i inventory",
    ),
    Mistake(
        "a host that is misspelt",
        what="no host and no group is called wbe1",
        where="--limit wbe1",
        following="did you mean web1?",
        command=f"{SITE} --limit wbe1",
    ),
    Mistake(
        "a tag that there is not",
        what="no task has this tag",
        where="--tags cady",
        following="did you mean caddy?",
        command=f"{SITE} --tags cady",
    ),
    Mistake(
        "an extra variable that is misspelt",
        what="deploy.yml reads no variable of that name",
        where="-e verison=…",
        following="did you mean -e version=…?",
        command=f"{DEPLOY} -e verison=v1.4.0",
    ),
    Mistake(
        "an extra variable of another playbook",
        what="rollback.yml reads no variable of that name",
        where="-e version=…",
        following="did you mean -e release=…?",
        command="ansible-playbook playbooks/rollback.yml -i inventory/prod -e version=v1",
    ),
    Mistake(
        "a value that is cut at its blank",
        what="cmd would be notes, and the rest is lost",
        where="-e cmd='notes stats'",
        following="-e cmd=\"'notes stats'\"",
        command='ansible-playbook playbooks/run.yml -i inventory/prod -e cmd="notes stats"',
    ),
    *(
        Mistake(
            f"a moment that is none: {moment}",
            what=f"'{moment}' {what}",
            where="REFUSED",
            following=following,
            command=f"ansible-playbook playbooks/restore.yml -i inventory/prod -e {name}={moment}",
        )
        for name, moment, what, following in (
            ("to", "nonsense", "is not a time", "next: write 2026-"),
            ("to", "2026-11-24", "is a whole day", "next: give the time too"),
            ("restore_to", "2026-11-24T10:00:00", "does not say in which time", "next: add Z"),
        )
    ),
    Mistake(
        "a file of variables that is not there",
        what="there is no such file",
        where="-e @extra.yml",
        following="@extra.yml",
        command=f"{SITE} -e @extra.yml",
    ),
    Mistake(
        "a clone that is not the working directory",
        what="Pergola's playbooks need its ansible.cfg",
        where="there is none here",
        following="export ANSIBLE_CONFIG=",
        command="ansible-playbook ../clone/site.yml -i ../clone/inventory/prod",
        directory="../home",
    ),
    Mistake(
        "an older Ansible first on PATH",
        what="is ansible-core 2.14.18, and Pergola needs 2.19 or newer",
        where="/ansible-playbook is",
        following=". .venv/bin/activate",
        environment={"PYTHONPATH": "older"},
        files={
            "older/sitecustomize.py": "import ansible.release as r\nr.__version__ = '2.14.18'\n"
        },
    ),
)

WRONG_HOSTS = (
    Mistake(
        "hosts that are no YAML",
        what="is not valid YAML",
        where=f"{HOSTS}:8",
        following="Look at this line and those before it",
        hosts={"web1:\n          ansible_host": "web1\n          ansible_host"},
    ),
    Mistake(
        "a group at the depth of another thing",
        what="a group has only vars, children, hosts, and servers has db",
        where=f"{HOSTS}:10",
        following="a group inside it stands below `children:`",
        hosts={"    db:": "  db:"},
    ),
    Mistake(
        "hosts as a list",
        what="hosts of db is a list",
        where=f"{HOSTS}:11",
        following="write `name:` for each, without the hyphen",
        hosts={
            "PostgreSQL\n      hosts:\n        web1:": "PostgreSQL\n      hosts:\n        - web1"
        },
    ),
    Mistake(
        "a group that is misspelt",
        what="the group `apps` has hosts, and `app` has none",
        where="`apps`",
        following="did you mean app?",
        hosts={"app:": "apps:"},
    ),
    Mistake(
        "a host in no group of Pergola's",
        what="nothing would run on it",
        where="web1 is in none of the groups",
        following="app, db, edge, backup",
        hosts={"app:": "web:", "db:": "data:"},
    ),
    Mistake(
        "a variable of Ansible's that is misspelt",
        what="ansible_hots of web1 is not a variable",
        where=f"{HOSTS}:8",
        following="did you mean ansible_host?",
        hosts={"ansible_host:": "ansible_hots:"},
    ),
)

WRONG_SETTINGS = (
    Mistake(
        "a template that was not filled in",
        what="app_domain still holds the placeholder CHANGE-ME",
        where="inventory/staging/group_vars/servers/settings.yml:8",
        following="example: app_domain: www.example.org",
        command="ansible-playbook site.yml -i inventory/staging",
    ),
    *(
        Mistake(
            f"an address that was not filled in, for {book}",
            what="ansible_host still holds the placeholder CHANGE-ME",
            where=f"{HOSTS}:8: ",
            following="CHANGE-ME",
            command=f"ansible-playbook playbooks/{book}.yml -i inventory/prod {more}",
            hosts={ADDRESS: "CHANGE-ME"},
        )
        for book, more in {
            "status": "--limit web1",
            "releases": "",
            "rollback": "",
            "run": "-e cmd=true",
            "maintenance": "-e state=on",
            "restore": "",
            "remove": "",
        }.items()
    ),
    Mistake(
        "a setting that was not filled in, for a playbook that changes none",
        what="app_name still holds the placeholder CHANGE-ME",
        where=f"{SETTINGS}:5: ",
        following="CHANGE-ME",
        command="ansible-playbook playbooks/status.yml -i inventory/prod",
        settings={"app_name: notes": "app_name: CHANGE-ME"},
    ),
    Mistake(
        "a setting that is misspelt",
        what="app_wokers is not a setting",
        where=f"{SETTINGS}:26",
        following="did you mean app_workers?",
        settings={"app_workers:": "app_wokers:"},
    ),
    Mistake(
        "a setting by the name that it had before",
        what="caddy_max_body_size is called app_max_body_size now",
        where=f"{SETTINGS}:27",
        following="rename it",
        settings=added("caddy_max_body_size: 3MB"),
    ),
    Mistake(
        "a setting without the blank after its colon",
        what="is not valid YAML",
        where=f"{SETTINGS}:28",
        following="Look at this line and those before it",
        settings={"app_workers: 2": "app_workers:2"},
    ),
    Mistake(
        "a tab",
        what="Tabs are usually invalid in YAML",
        where=f"{SETTINGS}:30",
        following="Look at this line and those before it",
        settings={"  DATABASE_URL": "\tDATABASE_URL"},
    ),
    Mistake(
        "a setting that is there twice",
        what="sets the same name again",
        where=f"{SETTINGS}:27",
        following="remove one of the two",
        settings=added("app_name: other"),
    ),
    Mistake(
        "an application without the module's colon",
        what="app_asgi 'notes.main' must be a module",
        where=f"{SETTINGS}:17",
        following="example: your_app.main:app",
        settings={"notes.main:app": "notes.main"},
    ),
    Mistake(
        "an address for a domain",
        what="app_domain 'https://www.example.org' is no DNS name",
        where=f"{SETTINGS}:8",
        following="example: www.example.org",
        settings={"www.example.org": "https://www.example.org"},
    ),
    Mistake(
        "a name for an address of mail",
        what="caddy_email 'you' is no address for mail",
        where=f"{SETTINGS}:38",
        following="example: you@example.org",
        settings={"you@example.org": "you"},
    ),
    Mistake(
        "an address for notices of deploys that is none",
        what="release_notify_urls: an address begins with https://, http:// or",
        where=f"{SETTINGS}:",
        following="example: https://chat.example.org/hooks/deploys",
        settings=added('release_notify_urls: ["chat.example.org/a-secret"]'),
    ),
    Mistake(
        "values that YAML changes",
        what="DEBUG: no would be false: quote it, or write false; MODE 0755 would be 493: quote it",
        where=f"{SETTINGS}:29",
        following="API 1.10 would be 1.1: quote it",
        settings={"app_environment:": "app_environment:\n  DEBUG: no\n  MODE: 0755\n  API: 1.10"},
    ),
    Mistake(
        "variables that only Pergola and systemd may set",
        what="app_environment: PERGOLA_RELEASE is Pergola's own: choose another name; WEB_CONC",
        where=f"{SETTINGS}:29",
        following="is set by app_workers: set that instead",
        settings={
            "app_environment:": "app_environment:\n  PERGOLA_RELEASE: x\n  WEB_CONCURRENCY: 2"
        },
    ),
    Mistake(
        "a command with a quote that is not closed",
        what="app_processes, worker: no shell can read the command: unexpected EOF",
        where=f"{SETTINGS}:27",
        following="looking for matching",
        settings=added("""app_processes: [{name: worker, command: "worker 'one"}]"""),
    ),
    Mistake(
        "processes and credentials that cannot be",
        what="app_processes and app_schedules: two have the same name among worker, worker-2",
        where="app_processes: memory_max of worker is no size; example: memory_max: 512M",
        following="app_credentials: key: there is no contents; it has content and variable",
        settings=added(
            "app_processes: [{name: worker, command: x, count: 2, memory_max: 1 GB},"
            " {name: worker-2, command: x}]\n"
            "app_credentials: {key: {content: x, contents: hush}}"
        ),
    ),
    Mistake(
        "a file of variables with a slip",
        what=".env.production:2: TOKEN is set a second time: remove one",
        where=f"{SETTINGS}:27",
        following="inventory/prod/.env.production:3: is not NAME=value",
        settings=added("app_environment_file: .env.production"),
        files={"inventory/prod/.env.production": "TOKEN=hush\nTOKEN=hush\nLEVEL info\n"},
    ),
    Mistake(
        "app_environment_file without its file",
        what="app_environment_file: there is no file inventory/prod/.env.prod",
        where=f"{SETTINGS}:27",
        following="example: app_environment_file: .env.production",
        settings=added("app_environment_file: .env.prod"),
    ),
    Mistake(
        "app_environment_file that is encrypted",
        what="app_environment_file: inventory/prod/.env.production cannot be decrypted",
        where=f"{SETTINGS}:27",
        following="add --ask-vault-pass",
        settings=added("app_environment_file: .env.production"),
        files={"inventory/prod/.env.production": "$ENCRYPTED"},
    ),
    Mistake(
        "a line of cron's that systemd cannot have",
        what="app_schedules, tidy: '0 3 1 * mon': cron runs on these days of the month and of the",
        where=f"{SETTINGS}:27",
        following='two schedules, "*-*-01 03:00:00" and "Mon *-*-* 03:00:00"',
        settings=added('app_schedules: [{name: tidy, command: x, on_calendar: "0 3 1 * mon"}]'),
    ),
    Mistake(
        "cron's five fields for the server's own",
        what="backup_full_on_calendar: '0 3 * * *' is cron's",
        where=f"{SETTINGS}:27",
        following='write "*-*-* 03:00:00"',
        settings=added('backup_full_on_calendar: "0 3 * * *"'),
    ),
    Mistake(
        "a time zone of its own",
        what="'Vienna' is not a time zone",
        where=f"{SETTINGS}:27",
        following="did you mean Europe/Vienna?",
        settings=added("base_timezone: Vienna"),
    ),
    Mistake(
        "a limit of memory as people say it",
        what="app_memory_max '512 MB' is no size",
        where=f"{SETTINGS}:27",
        following="example: 512M",
        settings=added("app_memory_max: 512 MB"),
    ),
    Mistake(
        "a limit of bodies without a number",
        what="app_max_body_size 'large' is no size",
        where=f"{SETTINGS}:27",
        following="example: 10MB",
        settings=added("app_max_body_size: large"),
    ),
    Mistake(
        "a file's name for a key",
        what="'~/.ssh/id_ed25519.pub' is no public SSH key",
        where=f"{SETTINGS}:41",
        following="begins with ssh-ed25519 AAAA",
        settings={"operators: []": 'operators: [{name: ada, keys: ["~/.ssh/id_ed25519.pub"]}]'},
    ),
    Mistake(
        "the example of a key, pasted as it stands",
        what="'ssh-ed25519 AAAA… ada@laptop' is no public SSH key",
        where=f"{SETTINGS}:41",
        following="begins with ssh-ed25519 AAAA",
        settings={
            "operators: []": 'operators: [{name: ada, keys: ["ssh-ed25519 AAAA… ada@laptop"]}]'
        },
    ),
    Mistake(
        "a secret that CI does not have",
        what="app_secrets.KEY: the value is empty",
        where=f"{SETTINGS}:33",
        following="Is the variable set that `lookup('env', …)` names",
        settings={"secrets: {}": "secrets: {KEY: \"{{ lookup('env', 'NOT_IN_CI') }}\"}"},
    ),
    Mistake(
        "a secret that no vault has",
        what="'vault_key' is undefined",
        where=f"{SETTINGS}:33",
        following="ansible-vault",
        settings={"secrets: {}": 'secrets: {KEY: "{{ vault_key }}"}'},
    ),
    Mistake(
        "a vault without its password",
        what="is encrypted",
        where=VAULT,
        following="Add --ask-vault-pass to the command",
        files={VAULT: "$ENCRYPTED"},
    ),
    Mistake(
        "a vault with another password",
        what="Decryption failed",
        where=VAULT,
        following="ansible-vault view",
        command=f"{SITE} --vault-password-file ~/wrong",
        files={VAULT: "$ENCRYPTED"},
    ),
    Mistake(
        "a source that is not there",
        what="There is no directory ~/ap.",
        where=f"{SETTINGS}:11",
        following="set it to a git address",
        settings={"~/app": "~/ap"},
    ),
    Mistake(
        "a version that is not there",
        what="'v9' is no tag, branch or commit of",
        where="Setting: app_version (given by -e)",
        following="set it to one that exists",
        command=f"{DEPLOY} -e version=v9",
    ),
    Mistake(
        "a version of Python without quotes",
        what="app_python is 3.1, must be a text: put it in quotes",
        where=f"{SETTINGS}:27",
        following='app_python: "3.14"',
        settings=added("app_python: 3.10"),
    ),
    Mistake(
        "an application without a lock",
        what="its packages are not pinned",
        where=f"{SETTINGS}:14",
        following="run `uv lock`, and commit uv.lock",
        settings={"~/app": "~/unlocked"},
    ),
)

WRONG_CONNECTIONS = (
    Mistake(
        "a server whose key is not known",
        what="Host key verification failed.",
        where=ADDRESS,
        following=f"ssh-keyscan -H {ADDRESS} >> ~/.ssh/known_hosts",
        ssh=answers("Host key verification failed."),
    ),
    Mistake(
        "an account that the key is not for",
        what="Permission denied (publickey)",
        where=HOSTS,
        following=f"Try: ssh root@{ADDRESS}",
        ssh=answers(f"root@{ADDRESS}: Permission denied (publickey)."),
    ),
    Mistake(
        "a key that others may read",
        what="are too open",
        where="/home/you/key",
        following="chmod 600",
        ssh=answers('Permissions 0644 for "/home/you/key" are too open.'),
    ),
    Mistake(
        "too many keys",
        what="Too many authentication failures",
        where=HOSTS,
        following="IdentitiesOnly=yes",
        ssh=answers(
            f"Received disconnect from {ADDRESS} port 22:2: Too many authentication failures"
        ),
    ),
    Mistake(
        "root on a cloud's image",
        what='Please login as the user "ubuntu" rather than the user "root".',
        where=HOSTS,
        following="set ansible_user for web1",
        ssh=answers('Please login as the user "ubuntu" rather than the user "root".'),
    ),
    Mistake(
        "a name that no name server knows",
        what="Could not resolve hostname",
        where=HOSTS,
        following="correct ansible_host of web1",
        ssh=answers(f"ssh: Could not resolve hostname {ADDRESS}: Name or service not known"),
    ),
    Mistake(
        "another port",
        what="Connection refused",
        where=HOSTS,
        following="is ansible_port of web1 right",
        ssh=answers(f"ssh: connect to host {ADDRESS} port 22: Connection refused"),
    ),
    Mistake(
        "sudo's password",
        what="could not become root",
        where="web1: ",
        following="add `--ask-become-pass` to the command",
        hosts={"ansible_user: root": "ansible_user: ada"},
        ssh=LOGS_IN,
    ),
)
WRONG_SERVERS = (
    Mistake(
        "another inventory's server",
        what="web1 is provisioned by the inventory of linkboard",
        where="as one more application: ansible-playbook playbooks/deploy.yml -i inventory/prod",
        following="To take the server over: -e preflight_takes_over=true",
        ssh=PROVISIONED,
    ),
    Mistake(
        "a setting of the server with one more application",
        what="caddy_email is a setting of the server, which the inventory of linkboard provisions",
        where=f"{SETTINGS}:38",
        following="set it there",
        command=DEPLOY,
        ssh=PROVISIONED,
    ),
)
TABLE = (*WRONG_COMMANDS, *WRONG_HOSTS, *WRONG_SETTINGS, *WRONG_CONNECTIONS, *WRONG_SERVERS)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(Path(tmp_path_factory.mktemp("desk")))


@pytest.mark.parametrize("mistake", TABLE, ids=lambda mistake: mistake.name)
def test_a_mistake_is_told_once_with_its_place_and_what_to_do(desk, mistake):
    desk.make(mistake.settings, mistake.hosts, mistake.files, mistake.ssh)
    before = desk.files()

    code, said = desk.type(mistake.command, mistake.directory, **mistake.environment)

    assert code != 0, said
    flat = re.sub(r"\s+", " ", said.replace("\n  -> ", " "))
    assert flat.count(mistake.what) == 1, said
    assert mistake.where in flat, said
    assert mistake.following in flat, said
    # One refusal, which says that nothing was done, and nothing else beside it.
    assert flat.lower().count("nothing was changed") in (1, 2), said
    assert len(re.findall(r"^(REFUSED|FAILED|\[?ERROR)", said, re.MULTILINE)) == 1, said
    assert not re.search("WARNING|Traceback|PLAY|TASK", said), said
    assert desk.files() == before
    assert desk.contacted() == bool(mistake.ssh), said


def test_without_a_mistake_the_same_command_reaches_for_the_server(desk):
    desk.make(ssh=answers("Connection timed out"))
    code, said = desk.type(SITE)
    assert code != 0
    assert "Is the server up" in said
    assert desk.contacted()


def test_the_table_has_what_newcomers_do():
    assert len({mistake.name for mistake in TABLE}) == len(TABLE) >= 40
