"""scripts/test.sh: which steps it runs, and what its last lines say of those that failed."""

import os
import re
import shutil
import subprocess

import pytest
from runs import ROOT

PYTEST = """
echo 'E   AssertionError: far above'
for number in 1 2 3 4 5 6 7 8; do
  echo "FAILED tests/test_a.py::test_$number - assert $number == 0"
done
echo 'ERROR tests/test_b.py - ImportError: no module'
echo '8 failed, 1 error in 0.1s'
exit 1
"""
MOLECULE = """
echo 'TASK [app : Start the slot] ****'
printf '\\033[0;31mfatal: [web1]: FAILED! =>\\033[0m\\n'
printf '%s\\n' '    msg: |-' '      The slot did not start.' '      It says why in the journal.'
for number in 1 2 3 4 5 6 7 8; do echo "web1 : ok=$number"; done
echo 'CRITICAL Ansible return code was 2'
exit 2
"""
RUFF = """
for number in 1 2 3 4 5 6 7 8; do echo "a.py:$number:1: F401 unused"; done
exit 1
"""


@pytest.fixture
def run(tmp_path):
    """Run the script where these programs do what the tests would do, and others succeed."""
    (tmp_path / "scripts").mkdir()
    shutil.copy2(ROOT / "scripts/test.sh", tmp_path / "scripts")
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)

    def run(*steps, **texts):
        for name in ("pytest", "molecule", "ruff", "mypy", "yamllint", "ansible-lint", "uv"):
            (programs / name).write_text(f"#!/bin/sh\n{texts.get(name, '')}\n")
            (programs / name).chmod(0o755)
        return subprocess.run(
            [tmp_path / "scripts/test.sh", *steps],
            env={**os.environ, "TEST_JOBS": "1", "HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return run


def test_the_last_lines_say_why_each_step_failed(run):
    done = run("unit", "monitoring", "lint", pytest=PYTEST, molecule=MOLECULE, ruff=RUFF)
    assert done.returncode == 1
    said = done.stdout.partition("0 passed, 3 failed: unit monitoring lint")[2].splitlines()[1:]
    assert said == [
        *(f"unit: FAILED tests/test_a.py::test_{n} - assert {n} == 0" for n in range(1, 7)),
        "monitoring: fatal: [web1]: FAILED! =>",
        "monitoring:     msg: |-",
        "monitoring:       The slot did not start.",
        "monitoring:       It says why in the journal.",
        "monitoring: CRITICAL Ansible return code was 2",
        *(f"lint: a.py:{n}:1: F401 unused" for n in range(3, 9)),
    ]


def test_a_step_that_failed_alone_is_explained_as_well(run):
    done = run("unit", pytest="echo 'ERROR tests/test_b.py - ImportError: no module'; exit 1")
    assert done.returncode == 1
    assert done.stdout.endswith(
        "0 passed, 1 failed: unit\nunit: ERROR tests/test_b.py - ImportError: no module\n"
    )


def test_what_succeeds_ends_in_one_line(run):
    done = run("unit", "monitoring", pytest="echo 'ERROR tests/test_b.py::test_a'")
    assert done.returncode == 0
    assert done.stdout.endswith("\n2 passed, 0 failed\n")


@pytest.mark.parametrize(
    ("word", "some", "none"),
    [
        ((), {"default", "unit", "sample-app", "lint"}, {"backup", "releases-others", "upgrade"}),
        (
            ("ci",),
            {"default", "unit", "sample-app", "lint", "releases-others", "releases-dying"}
            | {"apps", "backup", "monitoring"},
            {"postgresql", "versions", "upgrade", "brownfield", "bench", "default-12"},
        ),
        (("all",), {"default", "unit", "lint", "backup", "postgresql", "upgrade", "bench"}, set()),
    ],
    ids=["quick", "ci", "all"],
)
def test_the_steps_of_a_set(run, word, some, none):
    steps = re.findall(r"^==> (\S+) begins$", run(*word).stdout, re.MULTILINE)
    assert len(steps) == len(set(steps))
    assert some <= set(steps)
    assert not none & set(steps)
    assert len(steps) == 4 or word
