"""WAL that a stopped server had not archived, as a stop does not wait for that.

The server's next start sends it. But a data directory that a restore puts aside is not started
again, and without its last WAL nobody could go back to its last moments later.
"""

import time
from pathlib import Path

from pergola.backup.repository import pgbackrest
from pergola.backup.settings import Settings

SECONDS = 60


def send_rest(settings: Settings, data: Path) -> str:
    """Archive what waits in a data directory that no server uses; a remark where that fails.

    A repository that is away gets none of it: each file is waited for some seconds then.
    """
    waiting = sorted(file.stem for file in (data / "pg_wal/archive_status").glob("*.ready"))
    until, failed = time.monotonic() + SECONDS, 0
    for name in waiting:
        file = data / "pg_wal" / name
        if time.monotonic() > until or not file.exists():
            failed += 1
            continue
        # Not by the process that sends the live server's: it knows one data directory.
        options = [f"--stanza={settings.stanza}", f"--pg1-path={data}", "--no-archive-async"]
        failed += pgbackrest(*options, "archive-push", file).returncode != 0
    if not failed:
        return ""
    return (
        f"; {failed} WAL files of before may be in {data} only, not in every repository: the last "
        "moments before the stop cannot be restored from those that lack them"
    )
