"""What results of tasks mean to the person who waits: what was done, what failed, what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from pergola_control.here import from_here

Result = Mapping[str, object]

SHOWN = 3  # names of a list
LAST_LINES = 15  # lines of a program's output
WARNING = "WARNING: "

# Where apt says what it installs: names below a headline, indented.
APT_NEW = re.compile(r"^The following NEW packages will be installed:\n((?: .*\n)+)", re.MULTILINE)
APT_UPGRADED = re.compile(r"^The following packages will be upgraded:\n((?: .*\n)+)", re.MULTILINE)
# What Ansible says when it has nothing to say.
EMPTY_MESSAGES = (
    "non-zero return code",
    "One or more items failed",
    "MODULE FAILURE",
    "Action failed: Unknown error",
)
HIDDEN = "What it said is not shown, for there may be secrets in it."

# What ssh says, and what its reader can do about it.
UNREACHABLE = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "Another server answers at {address} than ~/.ssh/known_hosts has. If it was reinstalled:\n"
        "ssh-keygen -R {address} && ssh-keyscan -H{port} {address} >> ~/.ssh/known_hosts",
    ),
    (
        r"Host key verification failed",
        "This machine does not know the server's key yet. To accept it:\n"
        "ssh-keyscan -H{port} {address} >> ~/.ssh/known_hosts\n"
        "and compare its fingerprint with what the provider shows: ssh-keygen -lF {address}",
    ),
    (
        r"Please login as the user",
        "Log in as that user: set ansible_user for {host} in {file}.",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE|Permissions \d+ for \S+ are too open",
        "ssh uses no private key that others may read: chmod 600 and the file that it names.",
    ),
    (
        r"Too many authentication failures",
        "ssh offered more keys than the server allows. Name the right one for {host} in {file}:\n"
        "ansible_private_key_file, and ansible_ssh_extra_args: -o IdentitiesOnly=yes",
    ),
    (
        r"Permission denied",
        "The server accepts none of your keys for this account. Try: ssh {account}\n"
        "The account is ansible_user, the key ansible_private_key_file, both in {file}.",
    ),
    (
        r"Could not resolve hostname",
        "No name server knows {address}: correct ansible_host of {host} in {file}.",
    ),
    (
        r"Connection refused",
        "Nothing listens on SSH's port there: is ansible_port of {host} right ({file}), and does\n"
        "sshd run?",
    ),
    (
        r"timed out|Timeout|No route to host|Network is unreachable",
        "No answer from {address}. Is the server up, is ansible_host of {host} right ({file}),\n"
        "is SSH's port open in the provider's firewall?",
    ),
)
# The same of what Ansible or a program of the system says.
FAILED = (
    (r"no vault secrets found", "Add --ask-vault-pass (or --vault-password-file) to the command."),
    (r"Decryption failed", "That is not the vault's password."),
    (
        r"[Mm]issing sudo password|sudo: a password is required",
        "Add --ask-become-pass to the command.",
    ),
    (
        r"Failed to lock apt|Could not get lock|lock-frontend",
        "Another apt is at work on {host}. Run this again when it has ended.",
    ),
)


def listed(names: Sequence[str], shown: int = SHOWN) -> str:
    """The first names of a list, and that there are more."""
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def many(value: object) -> Iterable[object]:
    """The items of a list; none of what is no list."""
    return value if isinstance(value, list | tuple) else ()


def indented(text: str, by: str = "  ") -> str:
    return "\n".join(f"{by}{line}".rstrip() for line in text.splitlines())


def lasted(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"


# What was done


def detail(result: Result) -> str:
    """What a changed task did, as far as its result tells; never of a task with no_log."""
    if "censored" in result:
        return ""
    output = str(result.get("stdout", ""))
    if new := APT_NEW.search(output):
        names = new[1].replace("*", "").split()
        return f"{len(names)} new: {listed(names)}"
    if upgraded := APT_UPGRADED.search(output):
        names = upgraded[1].split()
        return f"{len(names)} upgraded: {listed(names)}"
    if written := many(result.get("written")):
        return listed([PurePath(str(path)).name for path in written])
    if isinstance(items := result.get("results"), list):
        changed = [item for item in items if isinstance(item, Mapping) and item.get("changed")]
        return listed([label for label in map(label_of, changed) if label])
    return answered(output)


def answered(output: str) -> str:
    """What a program's answer in JSON has to say, in one line; empty if it has no `says`."""
    try:
        says = json.loads(output)["says"]
    except (ValueError, LookupError, TypeError):
        return ""
    lines = says.splitlines() if isinstance(says, str) else [str(line) for line in says]
    return listed(lines, shown=1)


# What failed


def failure(result: Result) -> str:
    """Why a task failed: its message, and the end of what a program said."""
    if "censored" in result and not result.get("msg"):
        return HIDDEN
    items = [item for item in many(result.get("results")) if isinstance(item, Mapping)]
    failed = [item for item in items if item.get("failed") or item.get("unreachable")]
    if failed:
        return "\n".join(dict.fromkeys(of_item(item) for item in failed))
    message = str(result.get("msg") or "").strip().removeprefix("Task failed: ")
    parts = [] if message.startswith(EMPTY_MESSAGES) else [message]
    if not parts or "stderr" in result:
        for name in ("stderr", "module_stderr", "stdout", "module_stdout"):
            said = str(result.get(name) or "").strip()
            if said and said not in message:
                parts.append("\n".join(said.splitlines()[-LAST_LINES:]))
                break
    if "rc" in result and message.startswith(EMPTY_MESSAGES):
        parts.append(f"It ended with {result['rc']}.")
    return "\n".join(filter(None, parts)) or message or "It failed and said nothing."


def of_item(item: Result) -> str:
    """Why one item of a loop failed."""
    label = label_of(item)
    return f"{label}: {failure(item)}" if label else failure(item)


def label_of(item: Result) -> str:
    """The name of an item, if it has a short one that may be shown."""
    label = "" if "censored" in item else str(item.get("_ansible_item_label", item.get("item", "")))
    return "" if "\n" in label or label.startswith(("{", "[")) else label


def advice(text: str, host: str, variables: Mapping[str, object], unreachable: bool) -> str:
    """What to do about a failure that was not worded for the user, "" if that is not known."""
    address = str(variables.get("ansible_host", host))
    port = variables.get("ansible_port")
    account = re.search(r"(\S+@\S+): Permission denied", text)
    known = {
        "host": host,
        "file": from_here(str(variables.get("inventory_file") or "hosts.yml")),
        "address": address,
        "port": f" -p {port}" if port else "",
        "account": account[1] if account else address,
    }
    forms = UNREACHABLE if unreachable else FAILED
    return next((says.format(**known) for form, says in forms if re.search(form, text)), "")


# Where a setting is


def with_places(text: str, options: Mapping[str, object], short: Mapping[str, str]) -> str:
    """The text with the file and line of each setting that it names by `Setting:`.

    `short` has the settings that are given by another name on the command line.
    """

    def placed(found: re.Match[str]) -> str:
        place = place_of(found[1], options, short.get(found[1], found[1]))
        return f"{found[0]} ({place})" if place else found[0]

    return re.sub(r"\bSetting: (\w+)", placed, text)


def place_of(setting: str, options: Mapping[str, object], short: str) -> str:
    """Where a setting is set in the run's inventories, "" where no file shows it."""
    given = re.compile(rf"(^|[\s{{,'\"])({setting}|{short})['\"]?\s*[=:]")
    if any(given.search(str(words)) for words in many(options.get("extra_vars"))):
        return "given by -e"
    line = re.compile(rf"^[ \t]*{setting}[ \t]*:", re.MULTILINE)
    for name in map(str, many(options.get("inventory"))):
        top = Path(name) if Path(name).is_dir() else Path(name).parent
        for part in ("host_vars/**/*", "group_vars/**/*", "*"):
            for path in sorted(top.glob(f"{part}.y*ml")):
                text = path.read_text(errors="replace") if path.is_file() else ""
                if found := line.search(text):
                    return f"{from_here(path)}:{text.count(chr(10), 0, found.start()) + 1}"
    return ""
