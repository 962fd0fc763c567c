"""Messages through Apprise, the distribution's package: chats, pagers and many more, each a URL.

JSON by POST and mail stay ours (notify.py). Apprise has fields of its own in each JSON document,
which receivers of ours do not know, and in some distributions it encrypts mail without looking at
the server's certificate.
"""

import json

from pergola.status import store
from pergola.status.look import CRITICAL, OK, WARNING
from pergola.status.memory import Notice
from pergola.system import attempt, write

# Its name says to Apprise what it is written in.
CONFIGURATION = "apprise.yml"
# Starting it alone takes a second or two.
SECONDS = 10
KINDS = {OK: "success", WARNING: "warning", CRITICAL: "failure"}


def send(url: str, told: Notice) -> None:
    """Send a message; OSError when that fails.

    Most of such a URL is a secret: it is on no command line, in no file that others can read, and
    what Apprise says is told nobody, as it may quote it.
    """
    file = store.RUN / CONFIGURATION
    write(file, json.dumps({"urls": [url]}), 0o600, durable=False)
    try:
        done = attempt(
            *("apprise", f"--config={file}", f"--title={told.host}: {told.check}"),
            f"--notification-type={KINDS.get(told.state, 'info')}",
            stdin=told.text,
            timeout=SECONDS,
        )
    finally:
        file.unlink(missing_ok=True)
    if done.returncode:
        raise OSError(f"apprise ended with {done.returncode}")
