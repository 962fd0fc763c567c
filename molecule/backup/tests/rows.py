"""Numbered rows, which clients outside insert through the application, and what they saw."""

import itertools
import threading
import time
from collections import Counter
from types import TracebackType

import httpx
import scenario
from testinfra.host import Host

# After a request without an answer. The server is away for seconds.
PAUSE = 0.05


class Client(threading.Thread):
    """Does one thing again and again, on one connection while that lasts."""

    def __init__(self, site: scenario.Site) -> None:
        super().__init__(daemon=True)
        self.site, self.ended = site, threading.Event()

    def once(self, client: httpx.Client) -> None:
        raise NotImplementedError

    def run(self) -> None:
        while not self.ended.is_set():
            with self.site.client(http2=False) as client:
                client.timeout = httpx.Timeout(2)
                try:
                    while not self.ended.is_set():
                        self.once(client)
                except httpx.HTTPError:
                    self.failed()
            time.sleep(PAUSE)

    def failed(self) -> None:
        """A request got no answer."""

    def __enter__(self) -> "Client":
        self.start()
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.join()


class Writer(Client):
    """Inserts rows of ascending numbers; `acknowledged` are those answered with 200."""

    def __init__(self, site: scenario.Site, first: int) -> None:
        super().__init__(site)
        self.numbers = itertools.count(first)
        self.acknowledged: list[int] = []

    def once(self, client: httpx.Client) -> None:
        number = next(self.numbers)
        if client.post(f"/rows/{number}").status_code == httpx.codes.OK:
            self.acknowledged.append(number)


class Visitor(Client):
    """Asks for the first page; counts the answers, and the seconds without it."""

    def __init__(self, site: scenario.Site) -> None:
        super().__init__(site)
        self.answers: Counter[str] = Counter()
        self.away: list[float] = []

    def once(self, client: httpx.Client) -> None:
        answer = client.get("/")
        page = " with the page" if "<h1>Maintenance</h1>" in answer.text else ""
        self.answers[f"{answer.status_code}{page}"] += 1
        if answer.status_code != httpx.codes.OK:
            self.away.append(time.monotonic())
        time.sleep(PAUSE)

    def failed(self) -> None:
        self.answers["none"] += 1

    @property
    def outage(self) -> float:
        return self.away[-1] - self.away[0] + PAUSE if self.away else 0


class Rows:
    """The application's rows, as PostgreSQL's superuser sees them."""

    def __init__(self, host: Host, site: scenario.Site) -> None:
        self.host, self.site = host, site

    def sql(self, query: str) -> str:
        command = "cd / && runuser -u postgres -- psql -XqAt -v ON_ERROR_STOP=1 -d probe -c %s"
        return self.host.check_output(command, query)

    def there(self) -> set[int]:
        return {int(line) for line in self.sql("select number from probe_rows").split()}

    def next(self) -> int:
        return int(self.sql("select coalesce(max(number), 0) + 1 from probe_rows"))

    def add(self, *numbers: int) -> None:
        """Insert rows as a client does, each in a transaction of its own."""
        with self.site.client(http2=False) as client:
            for number in numbers:
                client.post(f"/rows/{number}").raise_for_status()

    def moment(self) -> str:
        """A moment after all that was answered so far and before what comes, as users write it."""
        time.sleep(0.02)
        form = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        now = self.sql(f"select to_char(clock_timestamp() at time zone 'UTC', '{form}')")
        time.sleep(0.02)
        return now
