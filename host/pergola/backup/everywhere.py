"""The verbs that need no PostgreSQL on this host: one that keeps copies has them, too."""

import argparse
import time
from collections.abc import Callable

from pergola.backup import jobs, peers, settings, timers
from pergola.backup.protect import protect, recover
from pergola.backup.verify import verify
from pergola.backup.wake import wake
from pergola.documents import answer
from pergola.people import iso, moment_of

Options = argparse.Namespace


def say_changed(changed: bool) -> None:
    """Tell role backup."""
    print(answer({"changed": changed}))


def keep(options: Options) -> None:
    changed = timers.start(timers.KEEPERS)
    stanzas = [settings.of_server(name) for name in options.names]
    changed |= jobs.have_first(stanzas)
    protect(stanzas)
    say_changed(changed)


def copy_files(_: Options) -> None:
    # Not for what is called each minute.
    from pergola.backup.files import copies

    copies.fetch(settings.of_others(), time.time())


def recover_copies(options: Options) -> None:
    before = moment_of(options.before, time.time()) if options.before else None
    print(recover(settings.of_server(options.stanza), before))


def fenced(options: Options) -> None:
    # Few calls need it.
    from pergola.backup import outside

    print(answer(outside.close() if options.verb == "close" else outside.reopen()))


def say_moment(options: Options) -> None:
    """In the form that the same command takes again, whenever it does."""
    print(iso(moment_of(options.to, time.time())))


VERBS: dict[str, Callable[[Options], object]] = {
    "full": lambda _: jobs.back_up_all(settings.of_every_server(), "full"),
    "incr": lambda _: jobs.back_up_all(settings.of_every_server(), "incr"),
    "verify": lambda _: verify(settings.of_every_server()),
    "certificate": lambda options: print(answer(peers.identity(options.address))),
    "listen": lambda options: say_changed(peers.listen(options.names)),
    "prepare": lambda options: say_changed(peers.prepare(options.names)),
    "keep": keep,
    "moment": say_moment,
    "close": fenced,
    "open": fenced,
    "files-copy": copy_files,
    "protect": lambda _: protect(settings.of_others()),
    "recover": recover_copies,
    "forget": lambda options: say_changed(peers.forget(options.names)),
    "starting": lambda _: peers.note_start(),
    "wake": lambda options: wake(options.cluster),
}
