"""How an application signs in to PostgreSQL: lines of its files, and a password by 127.0.0.1.

The socket needs none. Where a driver knows no sockets the application and its migrations have one,
which is made here, never leaves the host, and is the same for both: the application's account may
sign in as either anyway. PostgreSQL is told a SCRAM verifier, never the password.
"""

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pergola.errors import PergolaError
from pergola.people import last_lines
from pergola.postgres import ACCOUNT
from pergola.system import attempt, read, write

FILES_LOCK = Path("/run/pergola-postgresql-access.lock")
SECONDS_FOR_ANSWER = 30
# What stands for the password in an application's variables and files until they get here.
STANDS_FOR = "__PERGOLA_DATABASE_PASSWORD__"
ITERATIONS = 4096  # PostgreSQL's own number; the password is too long to be guessed anyway


def migration_role(app: str) -> str:
    """The role by which an application's migrations sign in."""
    return f"{app}_migration"


# -- files -----------------------------------------------------------------------------------------


@contextmanager
def files_locked() -> Iterator[None]:
    """Wait until nobody else changes pg_hba.conf or pg_ident.conf."""
    with FILES_LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def marked(why: str) -> str:
    """How a line ends that is there for this reason."""
    return f"  # Pergola: {why}"


def has_line(path: str, line: str, why: str) -> bool:
    """Whether `put_first` has written it; where nothing can be read, that one says why."""
    try:
        there = Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return False
    return line + marked(why) in there


def put_first(path: str, line: str, why: str) -> None:
    """Write a line at a file's start, instead of another one that was there for the same reason.

    As PostgreSQL's account: the directory is its own.
    """
    mark = marked(why)
    hint = f"add this as its first line, then deploy again: {line}{mark}"
    there = attempt("cat", path, account=ACCOUNT, timeout=SECONDS_FOR_ANSWER)
    if there.returncode:  # or all that is in it would be lost
        raise PergolaError(f"{path} could not be read", last_lines(there.stderr), hint=hint)
    kept = [other for other in there.stdout.splitlines() if not other.endswith(mark)]
    text = "\n".join([line + mark, *kept, ""])
    save = 'umask 027 && cat >"$1.pergola" && mv "$1.pergola" "$1"'
    command = ("sh", "-euc", save, "sh", path)
    saved = attempt(*command, account=ACCOUNT, stdin=text, timeout=SECONDS_FOR_ANSWER)
    if saved.returncode:
        raise PergolaError(f"{path} could not be changed", last_lines(saved.stderr), hint=hint)


# -- the password ----------------------------------------------------------------------------------


def password(home: Path) -> str:
    """The password of the application that has this directory; empty: it has none."""
    path = home / "database.password"
    return read(path).strip() if path.exists() else ""


def make_password(home: Path) -> str:
    """The same, made if there is none. It needs no quoting in a URL, a shell or SQL."""
    if not (found := password(home)):
        found = secrets.token_hex(24)
        write(home / "database.password", found + "\n", 0o600)
    return found


def filled_in(values: dict[str, str], home: Path) -> dict[str, str]:
    """Variables or files, with the password where it is asked for."""
    if not any(STANDS_FOR in value for value in values.values()):
        return values
    if not (found := password(home)):
        raise PergolaError(
            "the application is to have a password for PostgreSQL, and this host has none for it",
            hint="run deploy.yml without --tags: its role app makes the password",
        )
    return {name: value.replace(STANDS_FOR, found) for name, value in values.items()}


def verifier(secret: str, salt: bytes = b"") -> str:
    """What PostgreSQL keeps of a password, as RFC 5803 writes it; without a salt, with a new one.

    Such a password is ASCII, which SASLprep leaves as it is.
    """
    salt = salt or os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", secret.encode(), salt, ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    parts = (salt, hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256"))
    told, stored, server = (base64.b64encode(part).decode() for part in parts)
    return f"SCRAM-SHA-256${ITERATIONS}:{told}${stored}:{server}"


def is_verifier_of(kept: str, secret: str) -> bool:
    """Whether this is what PostgreSQL keeps of the password, as `verifier` has made it."""
    start, _, rest = kept.partition(":")
    if start != f"SCRAM-SHA-256${ITERATIONS}":
        return False
    salt = base64.b64decode(rest.partition("$")[0])
    return hmac.compare_digest(kept, verifier(secret, salt))
