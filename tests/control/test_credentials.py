"""Secret files: in both forms, with their path in a variable, and what is wrong with them."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "plugins/filter/credentials.py"
spec = importlib.util.spec_from_file_location("credentials_filter", PATH)
credentials = importlib.util.module_from_spec(spec)
spec.loader.exec_module(credentials)

BOTH = {
    "tls_key": "a key",
    "google.json": {"content": {"type": "service_account"}, "variable": "GOOGLE_CREDENTIALS"},
    "plain": {"content": "x"},
}


def test_both_forms_are_files_and_one_has_its_path_in_a_variable():
    assert credentials.credentials_wrong(BOTH, {}) == []
    assert credentials.credential_contents(BOTH) == {
        "tls_key": "a key",
        "google.json": '{"type": "service_account"}',
        "plain": "x",
    }
    assert credentials.credential_variables(BOTH) == {"GOOGLE_CREDENTIALS": "google.json"}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"a/b": "s3cret"}, "a/b: it names a file, so it has no /"),
        ({"a": {"variable": "A"}}, "a: content is missing"),
        ({"a": {"content": "s3cret", "var": "A"}}, "a: there is no var; it has content and"),
        ({"a": {"content": "s3cret", "variable": "SET"}}, "a: SET is set by app_environment"),
        (
            {name: {"content": "s3cret", "variable": "A"} for name in "ab"},
            "b: A has the path of another file",
        ),
    ],
)
def test_what_is_wrong_is_said_without_the_content(wrong, says):
    (said,) = credentials.credentials_wrong(wrong, {"SET": "x"})
    assert said.startswith(says)
    assert "s3cret" not in said
