"""A restore that was cut off, by a power loss or because its program was killed, comes to its end.

First the directories, before PostgreSQL starts: unless the restore is recorded as in force, what
was live before comes back. No application has written to the other data then, as all were kept
away. Then, once PostgreSQL runs: the applications start, their pages go, half-made copies go.

Each step may itself be cut off, and is done again.
"""

import shutil
import time
from dataclasses import replace

from pergola import results
from pergola.apps import PATIENCE
from pergola.backup import intent as intents
from pergola.backup.fence import Fence, applications_here
from pergola.backup.intent import Intent, at_work
from pergola.backup.points import forget_spool
from pergola.backup.rest import send_rest
from pergola.backup.scratch import Scratch
from pergola.backup.server import Server
from pergola.backup.settings import Settings
from pergola.errors import PergolaError, of_system
from pergola.lock import AT_ONCE, Patience
from pergola.people import stamp
from pergola.results import Result
from pergola.system import systemctl

FINISH = "pergola-restore-finish.service"
JOB = "restore"
AGAIN = "sudo pergola-backup resolve"
AS_IT_WAS = "the previous data is in force, nothing of it is lost"


def resolve(settings: Settings, patience: Patience = AT_ONCE) -> str:
    """Bring what was cut off to its end; a sentence on it, "" where nothing was.

    `patience`: with whoever else is at work, such as a deploy.

    PergolaError says what is in force and what to do, and status says it until that is done.
    """
    with at_work():
        intent = directories(settings)
        return finish(settings, intent, patience) if intent else ""


def directories(settings: Settings) -> Intent | None:
    """Have the right data directory in its place; what remains to be done, None: nothing.

    PostgreSQL is stopped for it where it runs, which it does not while the system starts.
    """
    intent = intents.read()
    if intent is None:
        return None
    server = Server(settings.version)
    server.forget_recovering()
    if intent.phase == "opening" or intent.is_recorded():
        intent.cut_at = intent.cut_at or "opening"
        intent.enter("opening")
        intent.say(f"{intent.cut()}; {in_force(intent)}")
        return intent
    try:
        intent.cut_at = intent.cut_at or intent.phase
        intent.save()
        put_back(settings, server, intent)
    except (PergolaError, OSError) as error:
        says = error.reason if isinstance(error, PergolaError) else f"{intent.cut()}; {error}"
        hint = getattr(error, "hint", "") or AGAIN
        intent.say(f"{says}; next: {hint}")
        raise PergolaError(says, hint=hint) from error
    intent.phase = "back"
    intent.say(f"{intent.cut()}; {in_force(intent)}")
    return intent


def put_back(settings: Settings, server: Server, intent: Intent) -> None:
    """What was live before comes back into its place; PostgreSQL does not run afterwards."""
    if intent.is_exchanged():
        intent.exchanged = True
        intent.save()
        if server.process():
            server.stop()
        forget_spool(settings)
    intent.take_back()


def in_force(intent: Intent) -> str:
    if intent.phase == "opening":
        return (
            f"it is in force: the data is {intent.words}, and what was live before is {intent.kept}"
        )
    return AS_IT_WAS


def finish(settings: Settings, intent: Intent, patience: Patience) -> str:
    """Start what was stopped, take our pages away, remove half-made copies; a sentence on it."""
    fence = Fence(applications_here())
    try:
        with fence.locked(patience):
            fence.take_over(intent)
            if intent.pages or intent.units:
                Server(settings.version).start()
            fence.open()
    except (PergolaError, OSError) as error:
        failed = of_system(error) if isinstance(error, OSError) else error
        pages = f"; the maintenance page of {', '.join(intent.pages)} stays" if intent.pages else ""
        says = f"{intent.cut()}; {in_force(intent)}; but {failed.reason}{pages}"
        hint = f"put that right, then: {AGAIN}"
        intent.say(f"{says}; next: {hint}")
        raise PergolaError(says, failed.evidence, hint=hint) from error
    clear(intent)
    says = told(intent)
    is_in_force = intent.phase == "opening"
    if is_in_force and not intent.foreign:
        says += send_rest(settings, intent.kept)
    record(intent, says)
    intent.end()
    if (intent.exchanged or is_in_force) and not intent.foreign:
        # Of the timelines that there are it says which one is live.
        systemctl("start", "--no-block", "pergola-backup@incr.service")
    return says


def told(intent: Intent) -> str:
    says = f"{intent.cut()}; {in_force(intent)}"
    if intent.phase == "opening":
        return f"{says}; the applications were started at {stamp(time.time())}"
    return (
        f"{says}. To go on, repeat it; to leave it at that: sudo pergola-backup resolve "
        "--acknowledge"
    )


def record(intent: Intent, says: str) -> None:
    """The result of the job, which status shows."""
    ok = intent.phase == "opening"
    results.save(Result(JOB, ok, says, intent.began, ended=time.time(), cut=True))


def acknowledge() -> None:
    """Somebody has read that a restore was cut off, and will not repeat it."""
    result = results.every().get(JOB)
    if result and result.cut:
        results.save(replace(result, cut=False))


def clear(intent: Intent) -> None:
    """Remove what a restore that is not in force has copied."""
    if intent.phase != "opening":
        for path in intent.copies:
            if path.exists():
                shutil.rmtree(path)


def clear_scratch(settings: Settings) -> None:
    """Remove what a drill, or half a restore beside the server, left when the server went down."""
    drill, scratch = Scratch.of(settings, "drill"), Scratch.of(settings, "scratch")
    if not drill.is_at_work():
        drill.remove()
    if not scratch.is_at_work() and not scratch.is_whole():
        scratch.remove()


def resume_after_boot(settings: Settings) -> None:
    """Finish a restore that was cut off, and remove half copies, once PostgreSQL was started."""
    clear_scratch(settings)
    if says := resolve(settings, PATIENCE):
        print(says)


def resume_before_start(settings: Settings) -> None:
    """Each start of PostgreSQL waits for this, where a restore is not at its end."""
    with at_work():
        if intent := directories(settings):
            print(intent.says)
            systemctl("start", "--no-block", FINISH)
