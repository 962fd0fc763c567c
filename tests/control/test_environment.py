"""The application gets what stands in the file, or the value is refused with "quote it"."""

import importlib.util
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

PATH = Path(__file__).resolve().parents[2] / "plugins/filter/environment.py"
spec = importlib.util.spec_from_file_location("environment_filter", PATH)
environment = importlib.util.module_from_spec(spec)
spec.loader.exec_module(environment)


@pytest.fixture
def read(tmp_path):
    """The variable of a file as Ansible reads it."""

    def run(text):
        path = tmp_path / "settings.yml"
        path.write_text(f"app_environment:\n  {text}\n")
        loaded = DataLoader().load_from_file(str(path), trusted_as_template=True)
        return loaded["app_environment"]

    return run


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("T: [a, b]", '["a", "b"]'),
        ("T: {a: 1, b: [true, null]}", '{"a": 1, "b": [true, null]}'),
        ("T: true", "true"),
        ("T: False", "false"),
        ("T: 8000", "8000"),
        ("T: -1", "-1"),
        ("T: 0", "0"),
        ("T: 1.5", "1.5"),
        ("T: 1e3", "1e3"),
        ("T: 5 # five", "5"),
        ("T: '0755'", "0755"),
        ("T: '1.10'", "1.10"),
        ("T: 'no'", "no"),
        ("T: ''", ""),
        ("T: Grüße", "Grüße"),
        ("T: [Grüße]", '["Grüße"]'),
        ("T: 2026-01-01", "2026-01-01"),
        ("T: {since: 2026-01-01, 1: one}", '{"since": "2026-01-01", "1": "one"}'),
        ("T: |\n    two\n    lines", "two\nlines\n"),
        (
            r'T: "tab\there, bell\a, \"quotes\", back\\slash, $HOME, `id`"',
            'tab\there, bell\a, "quotes", back\\slash, $HOME, `id`',
        ),
    ],
)
def test_what_stands_there_arrives(read, text, value):
    variables = read(text)
    assert environment.environment_odd(variables) == []
    assert environment.environment_texts(variables) == {"T": value}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('T: "{{ port }}"', "5432"),
        ("T: '{{ port }}'", "5432"),
        ("T: >-\n    {{ port }}", "5432"),
        ("T: {a: ['{{ 1.10 }}', '{{ wanted }}']}", '{"a": [1.1, false]}'),
        ("T: \"{{ 'yes' | bool }}\"", "true"),
    ],
)
def test_what_a_template_gives_is_no_text_of_yaml(read, text, value):
    """Such as the port of app_database, which is a number."""
    found = {"app_environment": read(text), "port": 5432, "wanted": False}
    templar = Templar(DataLoader(), found)
    variables = templar.template(trust_as_template("{{ app_environment }}"))
    assert environment.environment_odd(variables) == []
    assert environment.environment_texts(variables) == {"T": value}


def test_a_variable_without_a_value_is_left_out(read):
    variables = read("T:")
    assert environment.environment_odd(variables) == []
    assert environment.environment_texts(variables) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("T: 0755", "T 0755 would be 493: quote it"),
        ("T: 1.10", "T 1.10 would be 1.1: quote it"),
        ("T: 0x1F", "T 0x1F would be 31: quote it"),
        ("T: 1_000", "T 1_000 would be 1000: quote it"),
        ("T: 12:30:00", "T 12:30:00 would be 45000: quote it"),
        ("T: no", "T: no would be false: quote it, or write false"),
        ("T: On", "T: On would be true: quote it, or write true"),
        ("T: {deep: [1, 010]}", "T.deep[1] 010 would be 8: quote it"),
        (
            "T: 2026-01-01T10:00:00Z",
            "T 2026-01-01T10:00:00Z would be 2026-01-01 10:00:00+00:00: quote it",
        ),
        ("T: .inf", "T .inf would be Infinity: quote it"),
        ("T: 1.0e+3", "T 1.0e+3 would be 1000.0: quote it"),
        ("NO: 1", "false: YAML reads one of the names as false: quote the name"),
        ("T: {on: 1}", "T: YAML reads one of the names as true: quote the name"),
        ("T: {010: 1}", "T: YAML reads one of the names as 8: quote the name"),
        (r'T: "a\0b"', f"T: {environment.HAS_ZERO}"),
    ],
)
def test_what_would_be_something_else_is_refused(read, text, says):
    assert environment.environment_odd(read(text)) == [says]
    (said,) = environment.environment_odd(read(text), secret=True)
    where = said.partition(":")[0]
    assert said in (f"{where}: quote its value", says)
    assert "would be" not in said


def test_numbers_of_a_template_or_the_command_line_have_no_text_to_compare():
    assert environment.environment_odd({"T": 5, "U": True, "V": "x"}) == []
    assert environment.environment_odd({"T": 1.5}) == []


@pytest.mark.parametrize(
    ("environment_", "secrets", "file", "seen", "hidden"),
    [
        ({}, {}, "", {"PGHOST": "/run"}, {}),
        ({"PGHOST": "db"}, {}, "", {"PGHOST": "db"}, {}),
        ({"PGHOST": None}, {}, "", {}, {}),
        ({}, {"PGHOST": None}, "", {}, {}),
        ({}, {}, "PGHOST=db", {"PGHOST": "/run"}, {"PGHOST": "db"}),
        ({"A": 1}, {}, "A=2", {"A": "1", "PGHOST": "/run"}, {}),
        ({"A": None}, {}, "A=2", {"PGHOST": "/run"}, {}),
        ({}, {"A": 1}, "A=2\nB=3", {"PGHOST": "/run"}, {"A": "1", "B": "3"}),
        ({"A": 1}, {"A": None}, "A=2", {"PGHOST": "/run"}, {}),
    ],
)
def test_what_beats_what(environment_, secrets, file, seen, hidden):
    """A secret (and a line of the file) beats the other variables on the server."""
    parts = environment.environment_parts(environment_, secrets, {"PGHOST": "/run"}, file)
    unset = [name for name, value in (environment_ | secrets).items() if value is None]
    assert parts == {"environment": seen, "secrets": hidden, "unset": unset}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("A_1", ""),
        ("_a", ""),
        ("LISTEN_PORT", ""),
        ("1A", "no name of a variable"),
        ("A-B", "no name of a variable"),
        ("A\n", "no name of a variable"),
        ("", "no name of a variable"),
        ("PERGOLA_RELEASE", "Pergola's own"),
        ("WEB_CONCURRENCY", "app_workers"),
        ("NOTIFY_SOCKET", "systemd's own"),
        ("LISTEN_FDS", "systemd's own"),
    ],
)
def test_a_name_that_no_variable_can_have_is_refused(name, says):
    (*said,) = environment.environment_names_wrong({name: "x"})
    assert len(said) == bool(says)
    assert says in "".join(said)
    wrong = "".join(environment.dotenv_wrong(f"{name}=x", ".env"))
    assert says in wrong or ("no name" in says and "is not NAME=value" in wrong)


DOTENV = r"""\ufeff# a comment

export PLAIN=a b # told
EMPTY=
URL=postgresql://u:p#w@h/${NAME_OF-x}
QUOTED="two\nlines, \"quoted\""
SINGLE='${PLAIN} $(date)'
LONG="one
two"
COPY=${PLAIN}/${LATER:-default}
HASH=#f00
"""


def test_a_file_of_variables_is_read_as_dotenv_does(monkeypatch):
    monkeypatch.setenv("PLAIN", "of the control node")
    monkeypatch.setenv("LATER", "of the control node")
    text = DOTENV.replace("\\ufeff", "\ufeff").replace("/${NAME_OF-x}", "/x")
    assert environment.dotenv_wrong(text, ".env") == []
    assert environment.dotenv_values(text) == {
        "PLAIN": "a b",
        "EMPTY": "",
        "URL": "postgresql://u:p#w@h/x",
        "QUOTED": 'two\nlines, "quoted"',
        "SINGLE": "${PLAIN} $(date)",
        "LONG": "one\ntwo",
        "COPY": "a b/default",
        "HASH": "#f00",
    }
    assert environment.dotenv_values(text.replace("\n", "\r\n"))["COPY"] == "a b/default"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A=1\n\nA=s3cret", ".env:3: A is set a second time: remove one"),
        ("\n\nA", ".env:3: is not NAME=value"),
        ("# x\nA='s3cret\nB=2", ".env:2: is not NAME=value"),
        ('A="s3cret" x', ".env:1: is not NAME=value"),
        ("A=s3cret-$(cat key)", ".env:1: A: no command is run"),
        ("HOST=${HOME}s3cret", ".env:1: HOST uses ${HOME}, which no line before it sets"),
        ("A=1\nA-B=s3cret", ".env:2: A-B is no name of a variable"),
        ("A=s3cret\0", ".env:1: A: no variable can hold a zero byte"),
    ],
)
def test_a_line_that_cannot_be_taken_is_named_and_its_value_is_not_shown(text, says):
    said = environment.dotenv_wrong(text, ".env")
    assert said[0].startswith(says)
    assert "s3cret" not in "".join(said)
