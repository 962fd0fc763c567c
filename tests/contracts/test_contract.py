"""What every role promises: its defaults and its argument spec say the same, and so do the docs."""

import re
import runpy
from pathlib import Path

import pytest
import yaml
from pergola_control.settings import values

PROJECT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (PROJECT / "roles").iterdir())
# Set by the wiring in group_vars/all, not by users.
WIRED = set(yaml.safe_load((PROJECT / "group_vars/all/wiring.yml").read_text()))


def defaults(role):
    path = PROJECT / "roles" / role / "defaults/main.yml"
    return yaml.safe_load(path.read_text()) or {}


def options(role):
    spec = yaml.safe_load((PROJECT / "roles" / role / "meta/argument_specs.yml").read_text())
    return spec["argument_specs"]["main"]["options"]


@pytest.mark.parametrize("role", ROLES)
def test_the_defaults_are_the_optional_settings_of_the_argument_spec(role):
    optional = {name for name, option in options(role).items() if not option.get("required")}
    assert set(defaults(role)) == optional


@pytest.mark.parametrize("role", ROLES)
def test_the_argument_spec_states_the_defaults(role):
    for name, value in defaults(role).items():
        if "{{" in str(value):
            continue  # computed on the host: the description says how
        assert options(role)[name].get("default") == value, name


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_carries_the_name_of_its_role(role):
    assert all(name.startswith(f"{role}_") for name in options(role))
    constants = PROJECT / "roles" / role / "vars/main.yml"
    if constants.exists():
        assert all(name.startswith(f"__{role}_") for name in yaml.safe_load(constants.read_text()))


@pytest.mark.parametrize("role", ROLES)
def test_every_setting_says_what_it_is_for(role):
    for name, option in options(role).items():
        assert option["description"], name
        if option.get("required") and name not in WIRED:
            text = option["description"]
            assert text[-1].startswith(f"Example: {name}: "), f"{name} needs an example"


@pytest.mark.parametrize("role", ROLES)
def test_what_is_shown_as_an_example_is_taken(role):
    for name, option in options(role).items():
        for text in option["description"]:
            if not text.startswith(f"Example: {name}: "):
                continue
            value = yaml.safe_load(text.removeprefix("Example: "))[name]
            assert list(values.type_problems(name, value, option)) == []


@pytest.mark.parametrize("role", ROLES)
def test_no_argument_spec_holds_a_template(role):
    """Ansible would make something of it where it checks a role's arguments itself."""
    assert "{{" not in (PROJECT / "roles" / role / "meta/argument_specs.yml").read_text()


def words(text):
    return set(re.findall(r"[a-z]{4,}", text.lower()))


@pytest.mark.parametrize("role", ROLES)
def test_the_defaults_give_reasons_and_do_not_say_again_what_a_setting_is(role):
    text = (PROJECT / "roles" / role / "defaults/main.yml").read_text()
    for comment, name in re.findall(r"((?:^# .*\n)+)(\w+):", text, re.MULTILINE):
        described = words(str(options(role)[name]["description"]))
        for sentence in re.split(r"[.:;] ", comment.replace("\n# ", " ").removeprefix("# ")):
            same = words(sentence) & described
            assert len(same) < 4 or len(same) < 0.6 * len(words(sentence)), f"{name}: {sentence}"
        assert "wired in" not in comment, name


def test_a_comment_in_the_defaults_stands_right_above_its_setting():
    for role in ROLES:
        lines = (PROJECT / "roles" / role / "defaults/main.yml").read_text().splitlines()
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            assert not line.startswith("#") or re.match(r"# |\w+:", following), f"{role}: {line}"


CHECKS = {
    path.parents[1].name: yaml.safe_load(path.read_text())
    for path in PROJECT.glob("roles/*/meta/checks.yml")
}


@pytest.mark.parametrize("role", CHECKS)
def test_a_rule_stands_with_the_role_whose_setting_it_names(role):
    """What it says begins with the setting, whose file and line are told with it."""
    checks = CHECKS[role]
    known = {"rules", "server_rules", "vars", "calendars", "brings", "renamed", "required"}
    assert checks.keys() <= known
    assert checks.get("required", {}).keys() <= options(role).keys()
    assert all(name.startswith(f"__{role}_") for name in checks.get("vars", {}))
    for rule in checks.get("rules", []):
        assert rule.keys() <= {"broken", "says"}
        name = re.match(r"\w+", rule["says"])
        assert name is None or name[0] in options(role), rule["says"]
    # What a setting was called before is no setting, and leads to one of this role.
    known = {name for one in ROLES for name in options(one)}
    assert not checks.get("renamed", {}).keys() & known
    assert set(checks.get("renamed", {}).values()) <= options(role).keys()


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reads_a_private_name_of_another(role):
    foreign = re.compile(rf"\b__({'|'.join(other for other in ROLES if other != role)})_\w+")
    found = [
        f"{path.relative_to(PROJECT)}: {name[0]}"
        for path in sorted((PROJECT / "roles" / role).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
        for name in foreign.finditer(path.read_text())
    ]
    assert found == [], "wire it in group_vars/all/wiring.yml"


def test_the_page_of_settings_is_what_the_roles_say():
    written = runpy.run_path(str(PROJECT / "scripts/settings_page.py"))["page"]()
    assert (PROJECT / "docs/settings.md").read_text() == written, "python scripts/settings_page.py"


def test_the_wiring_sets_only_what_some_role_takes():
    known = {name for role in ROLES for name in options(role)}
    assert known >= WIRED


@pytest.mark.parametrize("playbook", sorted((PROJECT / "playbooks").glob("*.yml")), ids=str)
def test_a_playbook_is_a_list_of_roles(playbook):
    for play in yaml.safe_load(playbook.read_text()):
        assert "roles" in play
        assert not {"tasks", "pre_tasks", "post_tasks", "handlers", "vars", "vars_files"} & set(
            play
        )


@pytest.mark.parametrize("role", ROLES)
def test_no_file_of_tasks_is_longer_than_it_can_be_read_at_once(role):
    for path in (PROJECT / "roles" / role / "tasks").iterdir():
        assert len(path.read_text().splitlines()) <= 90, path


def switches():
    """The settings of all roles that are true or false."""
    return {n for role in ROLES for n, option in options(role).items() if option["type"] == "bool"}


def test_a_switch_written_as_text_is_one_as_well():
    """`backup_enabled: "false"` is a text, which is true wherever nobody says `| bool`."""
    bare = re.compile(
        rf"(?<![\w.'])({'|'.join(sorted(switches()))})\b(?!:)(?!(\s*\|\s*default\([^)]*\))?\s*\|\s*bool)"
    )
    places = [*PROJECT.glob("roles/*/*/**/*.j2"), *PROJECT.glob("group_vars/**/*.yml")]
    places += [*PROJECT.glob("roles/*/tasks/**/*.yml"), *PROJECT.glob("roles/*/vars/*.yml")]
    wrong = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"
        for path in places
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "{" in line or "when:" in line or line.startswith("  ")
        for found in [bare.search(line.partition("#")[0])]
        # A name that is shown to a person, or asked for, decides nothing.
        if found and not re.fullmatch(r"\s*(\w+:|-) \w+", line) and f"({found[1]}" not in line
    ]
    assert wrong == []
