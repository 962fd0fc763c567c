"""Messages through Apprise, the distribution's package: chats, pagers and many more, each a URL.

JSON by POST and mail stay ours (status/notify.py, and Ansible's modules for deploys). Apprise has
fields of its own in each JSON document, which receivers of ours do not know, and in some
distributions it encrypts mail without looking at the server's certificate.
"""

import json
import secrets
from pathlib import Path

from pergola.system import attempt, write

# Starting it alone takes a second or two.
SECONDS = 10


def send(url: str, title: str, text: str, kind: str, folder: Path) -> None:
    """Send a message; OSError when that fails. `kind`: info, success, warning or failure.

    Most of such a URL is a secret: it is on no command line, in no file that others can read, and
    what Apprise says is told nobody, as it may quote it. `folder`: where that file is meanwhile.
    """
    # The ending says to Apprise what it is written in.
    file = folder / f"apprise-{secrets.token_hex(4)}.yml"
    write(file, json.dumps({"urls": [url]}), 0o600, durable=False)
    try:
        done = attempt(
            *("apprise", f"--config={file}", f"--title={title}", f"--notification-type={kind}"),
            stdin=text,
            timeout=SECONDS,
        )
    finally:
        file.unlink(missing_ok=True)
    if done.returncode:
        raise OSError(f"apprise ended with {done.returncode}")
