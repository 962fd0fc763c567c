"""Small helpers around processes."""

import subprocess

LINES = 20


class DatabaseError(Exception):
    """What went wrong; `detail` holds evidence, as a program's last lines, `hint` what to do."""

    def __init__(self, reason: str, detail: str = "", hint: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail, self.hint = reason, detail, hint

    def report(self) -> str:
        return "\n".join(filter(None, [self.reason, self.detail, self.hint]))


def as_postgres(*command: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program as PostgreSQL's account, with nothing of root's left; `text` is its input."""
    account = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env"]
    return subprocess.run(
        [*account, *command], cwd="/", input=text, capture_output=True, text=True, check=False
    )


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program as root."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def checked(done: subprocess.CompletedProcess[str], what: str, hint: str = "") -> str:
    """What a program printed; DatabaseError with its last lines when it failed."""
    if done.returncode:
        raise DatabaseError(
            f"{what} ended with {done.returncode}", last_lines(done.stdout + done.stderr), hint
        )
    return done.stdout


def last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LINES:])
