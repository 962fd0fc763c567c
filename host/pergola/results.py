"""How each job ended, for monitoring and people: /var/lib/pergola/results/JOB.json.

While the disk has no room for that it is /run/pergola-results/JOB.json: the newer one counts.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from pergola.documents import Form, Json, converted
from pergola.errors import PergolaError, of_system
from pergola.people import iso

T = TypeVar("T")

RESULTS = Path("/var/lib/pergola/results")
IN_RUN = Path("/run/pergola-results")


@dataclass
class Result:
    """How a job ended. `ended`: seconds since 1970; `seconds`: how long it took.

    `type`: which of several kinds, such as a full backup; `cut`: it was cut off, and somebody has
    still to read that; `more`: what else is known of this kind of job (see `details`).
    """

    job: str
    ok: bool = False
    says: str = "it was interrupted"
    began: str = ""
    ended: float = 0
    seconds: float = 0
    type: str = ""
    cut: bool = False
    more: Json = field(default_factory=dict)


FORM = Form(Result, rest="more")


def details(result: Result, kind: type[T]) -> T:
    """What else is known of this kind of job, as a dataclass."""
    return cast(T, converted(result.more, kind, f"the result of {result.job}"))


@contextlib.contextmanager
def recorded(job: str, type: str = "") -> Iterator[Result]:  # noqa: A002 - the field's name
    """Record how a job ends and how long it took, and say it on standard error.

    The body fills in `says` and more.
    """
    began, clock = time.time(), time.monotonic()
    result = Result(job, began=iso(began), type=type)
    try:
        yield result
        result.ok = True
    except PergolaError as error:
        result.says = error.reason
        raise
    except OSError as error:
        failed = of_system(error)
        result.says = failed.reason
        raise failed from error
    finally:
        result.ended, result.seconds = time.time(), round(time.monotonic() - clock, 1)
        save(result)
        print(f"{job}: {'ok' if result.ok else 'FAILED'}: {result.says}", file=sys.stderr)


def save(result: Result) -> None:
    """Keep a result, in /run where the disk does not take it."""
    name = f"{result.job}.json"
    try:
        FORM.write(RESULTS / name, result)
    except OSError as error:
        failed = of_system(error)
        print(f"{failed.reason}: the result is in {IN_RUN}; {failed.hint}", file=sys.stderr)
        FORM.write(IN_RUN / name, result, durable=False)
    else:
        (IN_RUN / name).unlink(missing_ok=True)


def every() -> dict[str, Result]:
    """The last result of each job."""
    paths = [*sorted(RESULTS.glob("*.json")), *sorted(IN_RUN.glob("*.json"))]
    found = [result for path in paths if (result := FORM.read(path))]
    return {result.job: result for result in sorted(found, key=lambda one: one.ended)}
