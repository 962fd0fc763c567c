"""Commands without what runs packages elsewhere: in a release their programs are in PATH."""

import re
from collections.abc import Iterator, Sequence

# A word as a shell reads it, with its quotes.
WORD = r"""(?:[^\s;&|<>()'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+"""
PIECES = re.compile(
    rf"(?P<comment>(?<![^\s;&|()])#[^\n]*)|(?P<word>{WORD})|(?P<end>[;&|()\n]+)", re.DOTALL
)
# What may stand before the program of a command.
BEFORE = re.compile(r"exec|env|time|nohup|if|then|else|do|!|\{|[A-Za-z_]\w*=.*", re.DOTALL)

# Their options that change nothing in a release, and those of them that take a value: which
# packages it has, its Python and its variables are settings.
RUNNERS = {
    "uv": "--extra --no-extra --group --no-group --only-group --package --python -p --env-file "
    "--index --default-index --index-url -i --extra-index-url --find-links -f --color --cache-dir "
    "--config-file --link-mode",
    "poetry": "",
    "pdm": "--venv",
    "pipenv": "--python --pypi-mirror",
    "rye": "",
    "hatch": "",
}
ALONE = re.compile(
    "-[qvn]+|--(quiet|verbose|frozen|locked|no-sync|dev|no-dev|all-extras|all-groups|all-packages"
    "|no-default-groups|exact|inexact|no-editable|isolated|active|no-project|offline|no-cache"
    "|no-progress|no-env-file|no-config|native-tls|compile-bytecode|managed-python"
    "|no-managed-python|no-python-downloads|no-interaction|no-ansi|no-plugins|system)"
)
MODULE = ("-m", "--module")
# One of them that is left, such as in a text for another shell.
LEFT = re.compile(rf"\b({'|'.join(RUNNERS)})\s+(-\S+\s+)*run\s")


class RunnerError(ValueError):
    """A command that cannot be written without its runner, and why."""


def unwrapped(command: str) -> str:
    """A command without comments, and each part of it without its runner; or a RunnerError."""
    pieces = list(PIECES.finditer(command))
    cuts = [(one.start(), one.end(), "") for one in pieces if one["comment"]]
    for words in parts(pieces):
        if words and words[0]["word"] in RUNNERS:
            at, put = program([one["word"] for one in words])
            cuts.append((words[0].start(), words[at].start(), put))
    for start, end, put in sorted(cuts, reverse=True):
        command = command[:start] + put + command[end:]
    if found := LEFT.search(command):
        raise RunnerError(f"{found[0].strip()!r} stands inside of another command")
    return command.strip()


def parts(pieces: Sequence[re.Match[str]]) -> Iterator[list[re.Match[str]]]:
    """The words of each plain command, from its program on."""
    words: list[re.Match[str]] = []
    for piece in pieces:
        if piece["end"]:
            yield words
            words = []
        elif piece["word"] and (words or not BEFORE.fullmatch(piece["word"])):
            words.append(piece)
    yield words


def program(words: Sequence[str]) -> tuple[int, str]:
    """Which of a runner's words is the first of its program, and what is put before that."""
    runner, runs = words[0], False
    rest = iter(enumerate(words[1:], 1))
    for at, word in rest:
        option, _, value = word.partition("=")
        if not word.startswith("-") and runs:
            is_file = runner == "uv" and word.endswith(".py")
            return at, "python " if is_file else ""
        if word == "run":
            runs = True
        elif runs and at + 1 < len(words) and word == "--":
            return at + 1, ""
        elif runs and at + 1 < len(words) and runner == "uv" and word in MODULE:
            return at + 1, "python -m "
        elif option in RUNNERS[runner].split():
            if not value:
                next(rest, None)
        elif not ALONE.fullmatch(word):
            raise RunnerError(f"{runner} with {word} cannot be left out of the command")
    raise RunnerError(f"{' '.join(words)!r} names no program")
