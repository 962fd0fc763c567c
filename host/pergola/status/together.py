"""Several questions at once, within a time that none of them can exceed."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def together(
    questions: Mapping[str, Callable[[], T]], failed: Callable[[Exception], T], seconds: float
) -> dict[str, T | None]:
    """The answers by name; None for one that took all the time.

    `failed`: what counts as the answer where a question fails.
    """
    answers: dict[str, T | None] = dict.fromkeys(questions)

    def answered(name: str, question: Callable[[], T]) -> None:
        try:
            answers[name] = question()
        except Exception as error:  # it must not take the others with it
            answers[name] = failed(error)

    # A thread that hangs must not keep the process: hence no pool, which waits for its threads.
    threads = [
        threading.Thread(target=answered, args=one, daemon=True) for one in questions.items()
    ]
    for thread in threads:
        thread.start()
    until = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return dict(answers)
