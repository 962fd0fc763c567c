"""roles/preflight: every wrong setting is told at once, before anything is changed."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import EncryptedString
from ansible.template import Templar, trust_as_template
from pergola_control.settings import templates, values
from pergola_control.settings.check import Check
from pergola_control.settings.files import Files
from pergola_control.settings.message import message
from pergola_control.settings.problems import Problem, root_causes, setting_problems, template_error

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "roles" / "preflight" / "action_plugins" / "settings_checked.py"
PROGRAMS = Path(sys.executable).parent

WEB_SPEC = """
argument_specs:
  main:
    options:
      web_domain: {type: str, required: true, description: [
        "The public name. It needs a DNS record.", "Example: web_domain: app.test"]}
      web_workers: {type: int, description: How many workers serve.}
      web_debug: {type: bool, description: Whether errors are shown.}
      web_mode: {type: str, choices: [fast, safe], description: What matters most.}
      web_version: {type: str, description: The version to run.}
      web_secret: {type: str, no_log: true, choices: [a, b], description: A secret.}
      web_title: {type: str, description: What pages are called.}
      web_url: {type: str, description: Where the store is.}
      web_host: {type: str, description: From facts.}
      web_sites:
        type: list
        elements: dict
        description: Further names.
        options:
          name: {type: str, required: true, description: DNS name.}
          port: {type: int, description: A port.}
"""
STORE_SPEC = """
argument_specs:
  main:
    options:
      store_name: {type: str, description: The database.}
      store_owners: {type: list, elements: str, description: Who may enter.}
      store_limits: {type: dict, description: Limits.}
      store_password: {type: str, required: true, description: How the store is opened.}
"""
FILES = {
    "ansible.cfg": "[defaults]\nroles_path=roles\ninject_facts_as_vars=false\n"
    "callback_result_format=yaml\n",
    "playbooks/site.yml": "- hosts: servers\n  gather_facts: false\n  roles: [preflight]\n",
    "roles/preflight/tasks/main.yml": "- settings_checked:\n",
    "roles/web/meta/argument_specs.yml": WEB_SPEC,
    "roles/web/defaults/main.yml": "web_workers: 2\nweb_title: null\nweb_mode: fast\n",
    "roles/store/meta/argument_specs.yml": STORE_SPEC,
    "roles/store/defaults/main.yml": "store_name: '{{ __store_base }}-x'\n",
    "roles/store/vars/main.yml": "__store_base: shop\n",
    "playbooks/group_vars/all/wiring.yml": "web_url: 'sql:///{{ store_name }}'\n",
    "inventory/prod/hosts.yml": "servers:\n  hosts:\n"
    "    one: {}\n    two:\n      ansible_connection: ssh\n      ansible_host: 192.0.2.1\n",
    "password": "vault\n",
}
GOOD = """
web_domain: app.test
web_mode: safe
web_debug: "{{ web_mode == 'fast' }}"
web_secret: "{{ vault_web_secret }}"
web_host: "{{ ansible_facts['hostname'] }}"
web_sites: [{name: a.test, port: 80}]
store_owners: []
store_limits: {a: 1}
"""
BAD = """
# Every line here is wrong.
web_domian: app.test
web_workers: many
web_debug: "yes"
web_mode: quick
web_version: 1.10
web_secret: "{{ vault_web_secret }}"
web_title: "{{ no_such_name }}"
web_sites:
  - {name: a.test, prot: 80}
store_name: [a]
store_owners: alice
store_limits: {deep: [{x: "it is CHANGE-ME."}]}
store_password: "{{ vault_store_password }}"
"""


def project(directory, settings, secrets):
    for name, content in FILES.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (directory / "control").symlink_to(ROOT / "control")
    shutil.copytree(PLUGIN.parent, directory / "roles" / "preflight" / "action_plugins")
    group = directory / "inventory" / "prod" / "group_vars" / "servers"
    group.mkdir(parents=True)
    (group / "settings.yml").write_text(settings)
    (group / "vault.yml").write_text(secrets)
    vault = [PROGRAMS / "ansible-vault", "encrypt", "--vault-password-file", "password"]
    subprocess.run([*vault, group / "vault.yml"], cwd=directory, check=True, capture_output=True)


def play(directory, *arguments):
    argv = [PROGRAMS / "ansible-playbook", "playbooks/site.yml", "-i", "inventory/prod"]
    argv += ["--vault-password-file", "password", *arguments]
    env = os.environ | {
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "0",
    }
    done = subprocess.run(argv, cwd=directory, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_good_settings_pass_in_check_mode_and_without_a_connection(tmp_path):
    project(tmp_path, GOOD, "vault_web_secret: a\nstore_password: x\n")
    code, output = play(
        tmp_path, "--check", "-e", "web_workers=5 web_debug=true", "-e", '{"web_title": "x"}'
    )
    assert code == 0, output
    assert "failed=0" in output
    assert "deprecat" not in output.lower()


@pytest.fixture(scope="module")
def refused(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bad")
    secrets = "vault_web_secret: hunter2\nvault_store_password: [hunter2]\n"
    project(directory, BAD, secrets)
    hosts = directory / "inventory" / "prod" / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("192.0.2.1", "CHANGE-ME"))
    code, output = play(directory, "-e", "store_wrong=1 web_mode=quick", "--limit", "two")
    assert code == 2, output
    return output


def test_every_problem_is_told_at_once(refused):
    assert (
        "15 settings of inventory/prod must be fixed; nothing was changed on any host." in refused
    )
    for line in (
        "web_domain is missing",
        "web_domian is not a setting: did you mean web_domain?",
        "store_wrong is not a setting: correct or remove it",
        "web_workers is 'many', must be a whole number",
        "web_debug is 'yes', must be true or false",
        "web_mode is 'quick', must be one of: fast, safe",
        "web_version is 1.1, must be a text: put it in quotes",
        "web_title cannot be evaluated: 'no_such_name' is undefined",
        "web_sites has keys that do not exist: web_sites.prot (there are: name, port)",
        "store_name is ['a'], must be a text",
        "store_owners is 'alice', must be a list",
        "store_limits still holds the placeholder CHANGE-ME",
        "ansible_host still holds the placeholder CHANGE-ME",
    ):
        assert line in refused


def test_each_problem_says_what_it_is_and_where_to_correct_it(refused):
    settings = "inventory/prod/group_vars/servers/settings.yml"
    assert "meaning: The public name.\n" in refused
    assert "example: web_domain: app.test\n" in refused
    assert f"add to:  {settings}\n" in refused
    assert f"set in:  {settings}:4\n" in refused
    assert "set in:  inventory/prod/hosts.yml:6\n" in refused
    # Also of one that a file sets as well.
    for name in ("store_wrong", "web_mode"):
        found = re.search(rf"{name} is .*?set in:  ([^\n]*)", refused, re.DOTALL)
        assert found[1] == "the command line, by -e"


def test_a_secret_is_never_shown(refused):
    assert "web_secret has a value that is not allowed" in refused
    assert "store_password must be a text" in refused
    assert "hunter2" not in refused


WEB_CHECKS = """
rules:
  - broken: "{{ web_domain is not search('[.]') }}"
    says: "web_domain '{{ web_domain }}' has no dot"
  - {broken: "{{ web_workers | int > __web_most }}", says: "web_workers: {{ __web_most }} at most"}
  - says: "{{ ['web_title'] if __web_when.web_title != 'daily' else [] }}"
system_rules:
  - {broken: "{{ ansible_facts['system'] | default('x') != 'x' }}", says: "It runs another."}
server_rules:
  - {broken: "{{ ansible_facts['disk'] < 5 }}", says: "Its disk is too small."}
vars:
  __web_most: 8
  __web_when: {web_title: "{{ web_title or 'daily' }}", "web_sites, a.test": daily}
renamed: {web_processes: web_workers, store_mode: web_mode}
required: {web_version: "{{ web_mode == 'safe' }}"}
calendars: "{{ __web_when }}"
brings: {files: [{path: /etc/web}], units: ["{{ web_mode }}.service"], store: {a: 1}}
"""


@pytest.fixture
def check(tmp_path):
    """The check of the roles web and store with some settings, and what evaluates for it."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "roles/web/meta/checks.yml").write_text(WEB_CHECKS)
    (tmp_path / "roles/store/meta/checks.yml").write_text(
        "brings: {files: [{path: /etc/store}], store: {b: 2}}\n"
    )
    inventory = tmp_path / "inventory/prod"
    (inventory / "group_vars").mkdir()

    def made(**settings):
        settings = {"web_domain": "app.test", "store_password": "x", **settings}
        (inventory / "group_vars/servers.yml").write_text(yaml.safe_dump(settings))
        found = Check(
            roles_path=tmp_path / "roles",
            inventory=inventory,
            playbooks=tmp_path / "playbooks",
            host="one",
            groups=["servers"],
            variables={"ansible_facts": {"disk": 1}, **settings},
            load=lambda path: trusted(yaml.safe_load(path.read_text())),
            asked=frozenset({"web_asked"}),
        )
        return found, Templar(DataLoader(), variables=found.context).template

    return made


def trusted(value):
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def test_what_a_rule_refuses_is_told_with_what_a_type_refuses(check):
    found, evaluate = check(web_domain="apptest", web_workers=9, web_debug="yes")
    text = found.refusal(evaluate)
    assert text.startswith("3 settings of ")
    assert "web_debug is 'yes', must be true or false" in text
    rule = text[text.index("web_domain 'apptest' has no dot") :]
    assert "example: web_domain: app.test" in rule
    assert "group_vars/servers.yml:3" in rule
    assert "web_workers: 8 at most\n  meaning: How many workers serve.\n" in text


def test_rules_that_hold_are_asked_together(check):
    found, evaluate = check(web_workers=3)
    asked = []

    def counted(template):
        asked.append(template)
        return evaluate(template)

    found.refusal(counted)
    rules = {str(text) for rule in found.checks.rules for text in rule.values()}
    assert rules
    assert not rules & set(map(str, asked))


def test_a_rule_that_cannot_be_judged_yet_keeps_no_other_from_it(check, tmp_path):
    later = '  - {broken: "{{ __later.size > 1 }}", says: "web_title: too large"}\n'
    (tmp_path / "roles/web/meta/checks.yml").write_text(
        WEB_CHECKS.replace("rules:\n", f"rules:\n{later}", 1)
    )
    found, evaluate = check(web_domain="apptest")
    text = found.refusal(evaluate)
    assert "web_domain 'apptest' has no dot" in text
    assert "too large" not in text


def test_a_rule_is_not_asked_about_a_setting_that_is_wrong_already(check):
    found, evaluate = check(web_domain=["apptest"], web_workers="many")
    text = found.refusal(evaluate)
    assert text.startswith("2 settings of ")
    assert "has no dot" not in text
    assert "at most" not in text


def test_a_rule_may_say_several_things_or_nothing(check):
    found, evaluate = check(web_title="hourly")
    text = found.refusal(evaluate)
    assert text.startswith("1 setting of ")
    assert "web_title\n  meaning: What pages are called." in text
    found, evaluate = check(web_title="daily")
    assert found.refusal(evaluate) == ""


def test_a_setting_may_be_missing_because_of_another(check):
    found, evaluate = check(web_mode="safe")
    text = found.refusal(evaluate)
    assert text.startswith("1 setting of ")
    assert "web_version is missing\n  meaning: The version to run.\n  add to: " in text
    found, evaluate = check(web_mode="safe", web_version="1")
    assert found.refusal(evaluate) == ""
    found, evaluate = check(web_mode="slow")  # which is wrong itself
    assert "web_version" not in found.refusal(evaluate)


def test_only_the_calendars_that_are_set_are_told(check):
    found, evaluate = check(web_title="hourly")
    assert found.calendars(evaluate) == {"web_title": "hourly", "web_sites, a.test": "daily"}
    found, evaluate = check()
    assert found.calendars(evaluate) == {"web_sites, a.test": "daily"}


def test_a_server_is_refused_by_its_facts(check):
    found, evaluate = check()
    says = "one cannot be provisioned; nothing was changed.\n- Its disk is too small."
    assert found.unfit(evaluate) == says


def test_a_setting_that_is_made_from_facts_is_checked_once_they_are_known(check):
    found, evaluate = check(web_workers=0)
    halves = trusted("{{ ansible_facts['disk'] / 2 }}")
    found = replace(found, variables={**found.variables, "web_workers": halves})
    text = found.unfit(evaluate)
    assert text.startswith("1 setting of ")
    assert "web_workers is 0.5" in text
    assert "group_vars/servers.yml" in text


def test_of_an_unknown_system_nothing_else_is_said(check):
    found, _ = check()
    settings = {
        "ansible_facts": {"disk": 1, "system": "other"},
        "web_host": trusted("{{ {'x': 'one'}[ansible_facts['system']] }}"),
    }
    found = replace(found, variables={**found.variables, **settings})
    text = found.unfit(Templar(DataLoader(), variables=found.context).template)
    assert text == "one cannot be provisioned; nothing was changed.\n- It runs another."


def test_what_roles_bring_is_put_together(check):
    found, evaluate = check(web_mode="safe")
    assert found.brings(evaluate) == {
        "files": [{"path": "/etc/store"}, {"path": "/etc/web"}],
        "units": ["safe.service"],
        "store": {"b": 2, "a": 1},
    }


def test_a_name_that_a_playbook_asks_for_is_no_misspelt_setting(check):
    found, evaluate = check(web_asked=True, web_askd=True)
    text = found.refusal(evaluate)
    assert "web_askd is not a setting" in text
    assert "web_asked is" not in text


def test_a_setting_that_is_called_otherwise_now_is_refused_by_its_new_name(check):
    """Also where it has come to another role."""
    found, evaluate = check(web_processes=3, store_mode="fast")
    text = found.refusal(evaluate)
    assert text.startswith("2 settings of ")
    assert "web_processes is called web_workers now: rename it" in text
    assert "store_mode is called web_mode now: rename it" in text
    assert "group_vars/servers.yml:1" in text
    assert "did you mean" not in text


APP_SPEC = "argument_specs: {main: {options: {app_title: {type: str, description: Its name.}}}}\n"


def test_settings_of_a_server_are_refused_where_another_inventory_provisions_it(check, tmp_path):
    spec = tmp_path / "roles/app/meta/argument_specs.yml"
    spec.parent.mkdir(parents=True)
    spec.write_text(APP_SPEC)
    found, _ = check(app_title="x", web_workers=3)
    text = found.of_server("linkboard")
    assert text.startswith("3 settings of ")
    assert (
        "web_workers is a setting of the server, which the inventory of linkboard provisions: "
        "set it there\n  meaning: How many workers serve.\n"
    ) in text
    assert "group_vars/servers.yml:4" in text
    assert "store_password is a setting of the server" in text
    assert "app_title" not in text
    # What the roles' wiring, a default or the command line sets is no setting of this inventory.
    (tmp_path / "inventory/prod/group_vars/servers.yml").write_text("app_title: x\n")
    guest = replace(found, variables={"app_title": "x", "web_url": "sql:///", "web_workers": 5})
    assert guest.of_server("linkboard") == ""


def test_a_guest_names_the_authorities_of_its_server(check, tmp_path):
    role = tmp_path / "roles/certificates/meta"
    role.mkdir(parents=True)
    option = "certificates_file: {type: str, description: Where they are.}"
    (role / "argument_specs.yml").write_text(
        f"argument_specs: {{main: {{options: {{{option}}}}}}}\n"
    )
    found, _ = check(certificates_file="/srv/prod/authorities.pem", web_workers=3)
    text = found.of_server("linkboard")
    assert "web_workers is a setting of the server" in text
    assert "certificates_file" not in text


def test_a_guests_run_fails_with_the_file_and_line(tmp_path):
    project(tmp_path, GOOD, "vault_web_secret: a\nstore_password: x\n")
    task = "- settings_checked: {against: guest, owner: linkboard}\n"
    (tmp_path / "roles/preflight/tasks/main.yml").write_text(task)
    code, output = play(tmp_path, "--limit", "one")
    assert code == 2, output
    assert "web_mode is a setting of the server, which the inventory of linkboard" in output
    assert "inventory/prod/group_vars/servers/settings.yml:3" in output
    assert "nothing was changed on any host" in output
    assert "web_url" not in output, "that is the wiring's"


def test_settings_of_roles_that_a_playbook_does_not_have_are_told_with_their_defaults(tmp_path):
    project(tmp_path, GOOD, "vault_web_secret: a\nstore_password: x\n")
    (tmp_path / "roles/preflight/tasks/main.yml").write_text(
        "- {settings_checked: {tell: [store_name, store_limits, web_mode]}, register: found}\n"
        "- debug: {msg: '{{ found.told.store_name }} {{ found.told.store_limits.a }} "
        "{{ found.told.web_mode }}'}\n"
    )
    code, output = play(tmp_path, "--limit", "one")
    assert code == 0, output
    assert "shop-x 1 safe" in output


@pytest.mark.parametrize(
    ("value", "wanted", "fits"),
    [
        (True, "bool", True),
        ("true", "bool", True),
        ("False", "bool", True),
        ("yes", "bool", False),
        (1, "bool", False),
        (5, "int", True),
        ("5", "int", True),
        ("5s", "int", False),
        (True, "int", False),
        (5.5, "int", False),
        (5, "float", True),
        ("5.5", "float", True),
        ([], "list", True),
        ("[]", "list", False),
        ("a", "list", False),
        ({}, "dict", True),
        ("{}", "dict", False),
        ("a", "str", True),
        (16, "str", False),
        (True, "path", False),
        ([1], "raw", True),
    ],
)
def test_types_are_strict(value, wanted, fits):
    assert (values.wrong_type(value, wanted) == "") is fits


def problem(value, spec, secret=False):
    return values.value_problem("x", value, spec, secret)


def test_values_inside_values_are_checked():
    spec = {"type": "dict", "options": {"a": {"type": "list", "elements": "int"}}}
    assert problem({"a": [1, "2"]}, spec) == ""
    assert problem({"a": [1, "b"]}, spec) == "x.a[1] is 'b', must be a whole number"
    assert problem({"a": [1, "b"]}, spec, secret=True) == "x.a[1] must be a whole number"
    assert "is incomplete" in problem({}, {"type": "dict", "options": {"a": {"required": True}}})
    assert problem([{"CHANGE-ME": 1}], {"type": "list"}).startswith("still holds")
    assert problem("", {"required": True}) == "is empty"
    assert problem(None, {}) == "is empty"
    assert problem("", {}) == ""


def test_a_long_value_is_shortened():
    assert len(values.shown("a" * 500)) == values.SHOWN


def test_secrets_are_followed_through_templates():
    variables = {
        "x_a": "{{ x_b }}",
        "x_b": "{{ lower | x_c }}",
        "x_c": [EncryptedString(ciphertext="$ANSIBLE_VAULT;1.1;AES256\n00")],
        "x_d": "plain x_c",
        "x_e": "{% if y %}{{ y }}{% endif %}",
    }

    def secret(name, spec=None, vaulted=()):
        return templates.is_secret(name, spec or {}, variables, frozenset(vaulted))

    assert secret("x_a")
    assert secret("x_c")
    assert not secret("x_d")
    assert not secret("x_e")
    assert secret("x_e", vaulted=["y"])
    assert secret("x_d", {"no_log": True})
    assert secret("x_d", {"options": {"k": {"no_log": True}}})


def test_what_needs_facts_is_left_to_the_role():
    assert templates.unknowable("{{ ansible_facts.x }}", {})
    assert templates.unknowable("{{ a }}", {"a": "{{ ansible_facts.x }}"})
    assert templates.unknowable("{{ __role_name }}", {})
    assert not templates.unknowable("{{ ansible_facts.x }}", {"ansible_facts": {"y": 1}})
    assert not templates.unknowable("{{ a }}", {"a": "{{ a }}"})


def test_a_failed_secret_template_tells_only_names():
    error = AnsibleError("'vault_x' is undefined, after hunter2")
    told = template_error(error, secret=True)
    assert told.startswith(": 'vault_x' is undefined; set it in a file vault.yml beside this one")
    assert "hunter2" not in told
    error = AnsibleError("'other' is undefined, after hunter2")
    assert template_error(error, secret=True) == ": 'other' is undefined"
    assert template_error(AnsibleError("hunter2"), secret=True) == ""


def test_a_role_s_own_default_is_never_wrong():
    specs = {"x_a": {"type": "int", "required": True}}
    call = (specs, {"x_a": "{{ bad }}"}, {"x_a": "{{ bad }}"}, frozenset(), pytest.fail)
    assert list(setting_problems(*call)) == []


def test_only_the_root_of_a_problem_is_told():
    variables = {
        "a": "CHANGE-ME",
        "b": "{{ a }}",
        "c": "{{ b }} and CHANGE-ME",
        "d": "{{ missing }}",
        "e": "{{ f }}",
        "f": "{{ e }}",
    }
    problems = [Problem(name, "is wrong") for name in (*variables, "missing")]
    told = [problem.name for problem in root_causes(problems, variables)]
    assert told == ["a", "c", "e", "f", "missing"]


def test_problems_come_in_the_files_order(tmp_path):
    files = Files({tmp_path / "f": "b: 1\na: 1\n"}, {})
    problems = [Problem("a", "is"), Problem("c", "is missing", missing=True)]
    text = message([*problems, Problem("b", "is")], files, "one", tmp_path / "n")
    assert [part.split()[0] for part in text.split("\n\n")] == ["c", "b", "a"]


def test_the_file_that_wins_is_named(tmp_path):
    files = {
        tmp_path / "host": "a: 1\n",
        tmp_path / "group": "x: {a: 1}\nb:\n  a: 2\na: 3\n",
        tmp_path / "hosts": "h:\n  one:\n    c: 1\n  two:\n    d: 1\n    c: 2\n",
    }
    places = Files(files, {tmp_path / "vault": frozenset({"s"})})
    assert places.place("a", "one") == (tmp_path / "host", 1)
    assert places.place("b", "one") == (tmp_path / "group", 2)
    assert places.place("c", "two") == (tmp_path / "hosts", 6)
    assert places.place("s", "one") == (tmp_path / "vault", None)
    assert places.place("none", "one") is None


def test_two_hundred_settings_are_checked_quickly():
    specs = {f"x_{n}": {"type": "list", "elements": "str"} for n in range(200)}
    variables = {name: ["a", "b"] for name in specs}
    began = time.process_time()
    found = setting_problems(specs, variables, {}, frozenset(), lambda raw: raw)
    assert list(found) == []
    assert time.process_time() - began < 0.3
