"""The key of all backups: which one is in use, and where it would be overwritten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pergola_control.backups.known import Key, Known, fingerprint

NO_KEY = """; their key is nowhere, neither on the control node nor on a server.
Nothing was changed, and no other key was made. Put the key back from where you keep its copy; or
give the new backups another name, backup_stanza in host_vars."""
KEYS = "Keys are told by the first 8 digits of their SHA-256. Nothing was changed."
SEVERAL = f"""\
The control node has no key of the backups, and servers have more than one:
{{keys}}
{KEYS}
"""
SEVERAL_ONE_READS = """\
Put {right} into backup_key_file: backups are read with it. Keep the others too, for what was made
with them."""
SEVERAL_READ = """\
Put the one that is to go on into backup_key_file. Where another one is in use, keep its file and
its repository under other names on that host: what was made with a key needs that one."""
MISMATCH = f"""\
{{place}} is not the key of all backups that there are:
- {{key}}: {{place}}
{{keys}}
{KEYS}
"""
NOT_THEIRS = """\
No server has {key}, and all agree on {theirs}: {away}, and the next run fetches theirs. If these
are the backups of another environment, set backup_stanza to a name of its own instead."""
OVERWRITTEN = """\
{where} would be overwritten, and what was made with {key} could not be read any more.
- It holds another environment's backups: set backup_stanza of {stanza} to a name of its own.
- It is an older copy: keep that file and its repository under other names on {holder}.
"""

LONGEST_KEY = 1000


def keys_of(known: Known, stanzas: Mapping[str, str]) -> Iterator[Key]:
    """The keys of these servers' backups, wherever they are."""
    for holder, seen in known.hosts.items():
        for one in seen["keys"]:
            mine = holder in known.databases or one["stanza"] in stanzas.values()
            if mine and is_key(one["key"]):
                reads = any(
                    each.holder == holder and each.name == one["stanza"] and each.systems
                    for each in known.stanzas
                )
                current = bool(one["current"])
                yield Key(
                    holder, one["place"], one["stanza"], one["key"], current, reads and current
                )


def is_key(text: object) -> bool:
    """Whether a host's word may be a key: it becomes a line of other hosts' configuration."""
    return isinstance(text, str) and text.isprintable() and len(text) < LONGEST_KEY


def key_of_all(known: Known, stanzas: Mapping[str, str]) -> tuple[str, str]:
    """The key that the control node lacks ("": nobody has one), and what is wrong, in words."""
    found = list(keys_of(known, stanzas))
    current = [one for one in found if one.current]
    if known.control:
        key = next(iter(known.control.values()))
        wrong = any(one.key != key for one in current)
        return "", mismatch(known, key, current) if wrong else ""
    beside = [Key("", place, "", key, current=False) for place, key in known.beside.items()]
    candidates = current or [one for one in found if not one.current] + beside
    if len({one.key for one in candidates}) > 1:
        return "", several(candidates)
    if candidates:
        return candidates[0].key, ""
    if unread := [one for one in known.stanzas if one.name in stanzas.values()]:
        return "", "; ".join(one.words() for one in unread) + NO_KEY
    return "", ""


def listed(keys: list[Key]) -> str:
    """Which place has which key."""
    reads = {True: ", which reads the backups there", False: ""}
    return "\n".join(f"- {fingerprint(one.key)}: {one.where}{reads[one.reads]}" for one in keys)


def several(keys: list[Key]) -> str:
    """What to do without a key on the control node, and with more than one elsewhere."""
    reading = {fingerprint(one.key) for one in keys if one.reads}
    advice = SEVERAL_ONE_READS if len(reading) == 1 else SEVERAL_READ
    return SEVERAL.format(keys=listed(keys)) + advice.format(right="".join(reading))


def mismatch(known: Known, key: str, current: list[Key]) -> str:
    """What to do where the control node has another key than some places."""
    place = next(iter(known.control))
    others = [one for one in current if one.key != key]
    theirs = {fingerprint(one.key) for one in others}
    text = MISMATCH.format(place=place, key=fingerprint(key), keys=listed(current))
    if len(others) == len(current) and len(theirs) == 1:
        away = "take it out of the settings" if place == "backup_key" else f"move {place} away"
        return text + NOT_THEIRS.format(key=fingerprint(key), theirs="".join(theirs), away=away)
    for one in others:
        words = {"where": one.where, "holder": one.holder, "stanza": one.stanza or "that host"}
        text += OVERWRITTEN.format(key=fingerprint(one.key), **words)
    return text
