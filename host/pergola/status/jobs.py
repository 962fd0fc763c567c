"""The jobs: a failed one is critical; one that is overdue too when it has missed twice its time."""

from collections.abc import Iterator

from pergola.people import HOUR, duration
from pergola.status.look import CRITICAL, OK, WARNING, Finding, Look

# The units whose timers start them, where these are not called pergola-backup-JOB.
UNITS = {
    "backup": "pergola-backup-",
    "files-drill": "pergola-backup-drill",
    "updates": "apt-daily-upgrade",
}


def jobs(look: Look) -> Iterator[Finding]:
    for job, hours in look.jobs.items():
        yield judged(look, job, hours)


def judged(look: Look, job: str, hours: float) -> Finding:
    """A job that must have succeeded within so many hours."""
    name = f"job {job}"
    result = (look.seen.results or {}).get(job)
    if isinstance(result, str):
        return Finding(name, WARNING, f"its result cannot be read: {result}; run the job again")
    if result is None:
        age = look.now - look.memory.watched[job]
        what = f"has never run in the {duration(age)} since it is watched"
    else:
        age = look.now - look.memory.jobs[job].ended
        what = f"ended {duration(age)} ago"
    if result and not result.ok:
        says = f"{what} and FAILED: {result.says}; fix that and start it again by hand"
        return Finding(name, CRITICAL, says)
    if age > hours * HOUR:
        unit = UNITS.get(job, f"pergola-backup-{job}")
        says = (
            f"overdue: {what}, and should every {hours:g} hours; see `systemctl list-timers "
            f"'{unit}*'`"
        )
        return Finding(name, CRITICAL if age > 2 * hours * HOUR else WARNING, says)
    if result is None:
        return Finding(name, OK, f"has not run yet, and must within {hours:g} hours")
    return Finding(name, OK, f"{what}: {result.says}")


CHECKS = (jobs,)
