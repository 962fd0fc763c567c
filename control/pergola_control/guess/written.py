"""The settings as a file, and what was seen as lines for a person."""

import json
import re
from collections.abc import Iterator, Mapping

import yaml

from pergola_control.guess.repository import Repository
from pergola_control.guess.seen import Seen
from pergola_control.guess.whole import Guess
from pergola_control.programs import some, without_credentials
from pergola_control.refusal import RefusalError
from pergola_control.settings.placeholder import PLACEHOLDER, strings

HEAD = """\
---
# Guessed from {source}. Each line says where it was seen: correct what is wrong.
"""
SITE = f"""\
# The site's public name, whose A/AAAA record points to the server.
app_domain: {PLACEHOLDER} # for example: www.example.org
"""
WIDE = 10_000  # no line is folded
SERVER = f"""\
# Of the server. Where the certificate authority writes when a certificate can't be renewed.
caddy_email: {PLACEHOLDER} # for example: you@example.org

# The people who operate the servers, with their public SSH keys.
base_operators: [] # for example: [{{name: ada, keys: ["ssh-ed25519 AAAA… ada@laptop"]}}]
"""
# The templates that are not from the repository.
OURS = re.compile(r"\{\{ (app_database\.\w+|app_domain|app_name|vault_\w+) \}\}")
ENVIRONMENT = ("app_environment", "app_secrets")
REMEDY = (
    "look at where the repository has it; or write a file of settings, and name it: "
    "make try APP=… SETTINGS=settings.yml"
)


def one(name: str, value: object) -> str:
    """A setting as YAML; each text in quotes that could be read as anything else."""
    if isinstance(value, str):
        is_plain = re.fullmatch(r"[A-Za-z/][\w./:()-]*(?<!:)", value) and not is_odd(value)
        return f"{name}: {value if is_plain else json.dumps(value, ensure_ascii=False)}\n"
    options = {"sort_keys": False, "width": WIDE, "allow_unicode": True}
    text = str(yaml.safe_dump(value, default_flow_style=True, **options))
    return f"{name}: {text.removesuffix('...' + chr(10))}"


def is_odd(text: str) -> bool:
    """Whether YAML, of any version, makes something else of a text."""
    return bool(re.fullmatch(r"(?i)y|n|yes|no|on|off|true|false|null", text))


def refuse_templates(guess: Guess, repository: Repository) -> None:
    """Refuse what is from a foreign repository and what Ansible would evaluate on this machine."""
    values = {**guess.settings, "app_source": repository.origin, "app_version": repository.branch}
    for name, value in {**values, **guess.environment.vault}.items():
        for text in strings(value):
            if re.search(r"\{[{%#]", OURS.sub("", text)):
                raise RefusalError(
                    f"{name} would be {shortened(text)}, which Ansible would evaluate.",
                    "",
                    REMEDY,
                )


def refuse_others(text: str, guess: Guess, repository: Repository) -> None:
    """Refuse a file with other settings than those seen: a foreign text could end its line."""
    wanted = {
        **guess.settings,
        **coming_from(repository),
        "app_domain": PLACEHOLDER,
        "caddy_email": PLACEHOLDER,
        "base_operators": [],
    }
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if found != wanted:
        what = f"What was seen of {repository.shown} cannot be written as a file of settings."
        raise RefusalError(what, "", REMEDY)


def settings_file(guess: Guess, repository: Repository) -> str:
    """The settings as a file of an inventory."""
    refuse_templates(guess, repository)
    blocks = [HEAD.format(source=repository.shown), of(guess.seen[0])]
    blocks.append(SITE)
    blocks.append("".join(one(*item) for item in coming_from(repository).items()))
    blocks += [of(seen) for seen in guess.seen[1:]]
    values = {name: guess.settings[name] for name in ENVIRONMENT if name in guess.settings}
    blocks += [variables(name, value, guess.environment.said) for name, value in values.items()]
    text = "\n".join([*blocks, SERVER])
    refuse_others(text, guess, repository)
    return text


def coming_from(repository: Repository) -> dict[str, str]:
    """Where it comes from, for servers: a clone's own origin, if it has one."""
    if repository.origin:
        return {"app_source": repository.origin, "app_version": repository.branch or "HEAD"}
    return {"app_source": repository.source, "app_version": repository.version}


def of(seen: Seen) -> str:
    return f"# {seen.why}: {seen.where}\n{one(seen.setting, seen.value)}"


def variables(name: str, values: object, said: Mapping[str, tuple[str, str]]) -> str:
    """A dictionary of variables, each with where it was seen."""
    lines = [f"{name}:\n"]
    if name == "app_secrets":
        lines.insert(0, "# Their values belong into vault.yml beside this file.\n")
    for key, value in values.items() if isinstance(values, Mapping) else ():
        where, why = said[key]
        shown = json.dumps(key) if is_odd(key) else key
        lines += [f"  # {why}: {where}\n", f"  {shown}: {json.dumps(value, ensure_ascii=False)}\n"]
    return "".join(lines)


def report(guess: Guess, repository: Repository) -> Iterator[str]:
    """What was seen, one line each; then what is to be done. No terminal obeys a line of it."""
    for line in lines(guess, repository):
        yield "".join(each for each in without_credentials(line) if each.isprintable())


def lines(guess: Guess, repository: Repository) -> Iterator[str]:
    yield f"{repository.shown}: {guess.framework}, " + (
        "with PostgreSQL" if guess.has_database else "without PostgreSQL"
    )
    rows = [(seen.setting, one("", seen.value)[2:].strip(), seen.where) for seen in guess.seen]
    environment = guess.environment
    for name, value in (*environment.plain.items(), *environment.secret.items()):
        rows.append((name, value, environment.said[name][0]))
    for setting, value, where in rows:
        yield f"  {setting:<20} {shortened(value):<44} {where}"
    if environment.optional:
        yield f"  not set, as it does without: {some(environment.optional)}"
    yield from (f"  note: {text}" for text in guess.notes)
    for name, where in environment.to_fill_in.items():
        yield f"  TO FILL IN: {name}, which {where} needs"


def shortened(text: str) -> str:
    text = " ".join(without_credentials(text).split())  # before what would show half of them
    return text if len(text) <= 44 else f"{text[:43]}…"
