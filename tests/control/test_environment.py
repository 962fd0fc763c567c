"""The application gets what stands in the file, or the value is refused with "quote it"."""

import importlib.util
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader

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
        return DataLoader().load_from_file(str(path))["app_environment"]

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
        ("T: 5 # five", "5"),
        ("T: '0755'", "0755"),
        ("T: '1.10'", "1.10"),
        ("T: 'no'", "no"),
        ("T: ''", ""),
        ("T: Grüße", "Grüße"),
        ("T: [Grüße]", '["Grüße"]'),
    ],
)
def test_what_stands_there_arrives(read, text, value):
    variables = read(text)
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
        ("T: 2026-01-01", 'T 2026-01-01 would be "2026-01-01": quote it'),
    ],
)
def test_what_would_be_something_else_is_refused(read, text, says):
    assert environment.environment_odd(read(text)) == [says]
    assert environment.environment_odd(read(text), secret=True) in (
        ["T: quote its value"],
        ["T.deep[1]: quote its value"],
    )


def test_numbers_of_a_template_or_the_command_line_have_no_text_to_compare():
    assert environment.environment_odd({"T": 5, "U": True, "V": "x"}) == []
    assert environment.environment_odd({"T": 1.5}) == ["T is 1.5: quote it"]
