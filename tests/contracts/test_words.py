"""Names, messages and pages in the field's words, as far as that can be held by a look at them."""

import ast
import re

import pytest
import yaml
from runs import ROOT

# What is written as if translated; the field has other words.
NEVER = re.compile(
    r"\b(mend(s|ed|ing)?|afresh|anew|thither|whence|hitherto|speaks? against)\b"
    r"|\bdata of (before|now)\b|\bby chance\b|\bto rest\b|\btake it for made\b|\bto be had from\b",
    re.IGNORECASE,
)
# With these no imperative begins.
NO_VERBS = {
    *("a", "an", "the", "it", "its", "them", "they", "their", "this", "that", "these", "those"),
    *("one", "each", "every", "all", "any", "no", "none", "first", "then", "now", "there"),
    *("what", "which", "who", "whose", "where", "when", "whether", "how", "why", "if"),
    *("after", "at", "before", "beside", "for", "from", "in", "on", "until", "while", "with"),
    *("is", "was", "were", "been", "has", "do", "does", "did"),
}
# Of these two words a name cannot consist: they say nothing of what becomes true.
PRONOUN = re.compile(r"\w+ (it|them|so|this|that)|.* (did|so)", re.IGNORECASE)

TASKS = sorted(
    path
    for pattern in ("roles/*/tasks/*.yml", "roles/*/handlers/*.yml", "playbooks/*.yml")
    for path in ROOT.glob(pattern)
)
PROGRAMS = [
    *(path for top in ("host", "control") for path in sorted((ROOT / top).rglob("*.py"))),
    *(path for top in ("library", "plugins") for path in sorted((ROOT / top).rglob("*.py"))),
]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]


def called(path):
    return str(path.relative_to(ROOT))


def names(tasks):
    """The names of plays and tasks, of those in blocks too."""
    for task in tasks or ():
        if "name" in task:
            yield task["name"]
        for inside in ("block", "rescue", "always", "tasks", "handlers"):
            yield from names(task.get(inside))


def is_good(name):
    """Whether a task's name begins with a verb that says what becomes true."""
    prefix, rest = re.fullmatch(r"(\w+ \| )?(.*)", name).groups()
    (first, *_) = rest.split()
    says_something = prefix or not PRONOUN.fullmatch(rest)
    return bool(rest[0].isupper() and first.lower() not in NO_VERBS and says_something)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("Open the firewall", True),
        ("firewall | Load the rules", True),
        ("Run {{ phases }}", True),
        ("Do it", False),
        ("Tell it", False),
        ("Fail if it did", False),
        ("phases | One step after the other", False),
        ("open the firewall", False),
        ("step | It is done", False),
    ],
)
def test_what_a_good_name_is(name, good):
    assert is_good(name) is good


@pytest.mark.parametrize("path", TASKS, ids=called)
def test_a_task_s_name_begins_with_what_is_done(path):
    assert [name for name in names(yaml.safe_load(path.read_text())) if not is_good(name)] == []


@pytest.mark.parametrize("path", PROGRAMS, ids=called)
def test_a_function_that_changes_something_is_named_by_what_it_does(path):
    """One that returns a value may be named after that."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Constant)
    ]
    first = {node.name: node.name.split("_")[0] for node in functions}
    assert [name for name, word in first.items() if word in NO_VERBS - {"do"}] == []


def texts(path):
    """What a file says to people: the names and messages of a program, the whole of another."""
    whole = path.read_text()
    if path.suffix == ".py":
        nodes = list(ast.walk(ast.parse(whole)))
        docstrings = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name.replace("_", " ")
            if isinstance(node, ast.Constant) and id(node) not in docstrings:
                yield str(node.value)
    else:
        yield re.sub(r"^\s*#.*", "", whole, flags=re.MULTILINE) if path.suffix == ".yml" else whole


def test_no_name_message_or_page_is_written_as_if_translated():
    said = [*PROGRAMS, *PAGES, *TASKS]
    said += [path for path in ROOT.glob("roles/*/*/*") if path.suffix in (".yml", ".j2")]
    found = {
        (called(path), match[0])
        for path in said
        for text in texts(path)
        for match in [NEVER.search(text)]
        if match
    }
    assert found == set()
