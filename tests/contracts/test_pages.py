"""The pages for people who change Pergola agree with the code."""

import re
import subprocess

import pytest
import yaml
from runs import ROOT

PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += [*sorted(ROOT.glob("docs/*.md")), ROOT / "testhosts/README.md"]
PAGES += [ROOT / "benchmarks/README.md"]


def drawing(page):
    """The names in the first drawing of a page."""
    text = (ROOT / page).read_text()
    (first, *_) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    return {
        word for label in re.findall(r'"(.*?)"', first) for word in re.split(r"[,:\s]+|<br>", label)
    }


def test_every_room_is_in_the_drawing():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    rooms = {f"{path.split('/')[0]}/" for path in listed if "/" in path and path[0] != "."}
    assert rooms
    assert rooms - drawing("docs/architecture.md") == set()


def test_every_floor_of_the_host_is_in_the_drawing():
    found = {path.stem for path in (ROOT / "host/pergola").glob("*.py")} - {"__init__", "cli"}
    found |= {path.parent.name for path in (ROOT / "host/pergola").glob("*/__init__.py")}
    assert found - drawing("docs/architecture.md") == set()


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    named = set(re.findall(r"\]\((\w[\w-]*\.md)\)", index))
    assert named == {path.name for path in ROOT.glob("docs/*.md")} - {"README.md"}


def anchors(text):
    """What GitHub calls the headings of a page."""
    for heading in re.findall(r"^#+ (.*)", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_leads_to_a_page_that_is_there(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not re.match(r"\w+:", link):
            file, _, anchor = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_make_target_that_is_shown_is_one(page):
    targets = set(re.findall(r"^([\w%-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}
    known = targets | {f"test-{scenario}" for scenario in scenarios}
    for line in re.findall(
        r"(?:^    |`)make ((?:\w[\w-]* ?)+)(?=`|$| )", page.read_text(), re.MULTILINE
    ):
        assert set(line.split()) <= known, line


def test_what_pre_commit_runs_is_lint():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    (body,) = re.findall(
        r"^lint\(\) \{\n(.*?)\n\}", (ROOT / "scripts/test.sh").read_text(), re.M | re.S
    )
    commands = [command.strip() for command in body.split("&&")]
    assert [hook["entry"] for hook in hooks] == [*commands[:-1], f"scripts/test.sh {commands[-1]}"]


def test_one_page_has_the_seconds_of_an_unchanged_run():
    for page in PAGES:
        if page.name != "measured.md":
            told = re.findall(
                r"unchanged[^.|]{,60}\d s\b|nothing to do, [^.|]*\d s\b", page.read_text()
            )
            assert told == [], page.name
