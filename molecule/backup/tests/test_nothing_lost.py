"""What was acknowledged is there: after the power was lost, and exactly so after a restore."""

from collections.abc import Callable

import pytest
import scenario
from conftest import Figures
from rows import Rows, Writer
from scenario import wait_for
from testinfra.host import Host

ROWS_BEFORE_IT = 60


@pytest.mark.parametrize("time", range(1, 6), ids="time {}".format)
def test_no_acknowledged_row_is_lost_with_the_power(
    time: int, web1: Host, site: scenario.Site, rows: Rows, figures: Figures
):
    with Writer(site, rows.next()) as writer:
        wait_for("rows", lambda: len(writer.acknowledged) > ROWS_BEFORE_IT)
        scenario.testhosts("kill", "web1")
    scenario.testhosts("start", "web1")
    wait_for("a login", lambda: web1.run("true").rc == 0)
    wait_for("the application's database", lambda: site.get("/db").status_code == 200)
    lost = set(writer.acknowledged) - rows.there()
    figures.acknowledged += len(writer.acknowledged)
    figures.lost += len(lost)
    print(f"time {time}: {len(writer.acknowledged)} acknowledged, lost {len(lost)}")
    assert not lost


@pytest.fixture(scope="module")
def between(
    rows: Rows, web1: Host, pergola_backup: Callable[..., str]
) -> dict[str, tuple[str, set[int]]]:
    """Targets between two rows, and the rows that each of them has."""
    pergola_backup("incr")
    first, found = rows.next(), {}
    rows.add(*range(first, first + 10))
    found["to"] = (rows.moment(), rows.there())
    rows.add(*range(first + 10, first + 20))
    found["point"] = (pergola_backup("point", "between"), rows.there())
    rows.add(*range(first + 20, first + 30))
    xid = rows.sql(f"select xmin from probe_rows where number = {first + 29}")
    found["xid"] = (xid, rows.there())
    rows.add(*range(first + 30, first + 40))
    return found


# From the newest to the oldest: each restore ends the time line that the next one goes back on.
@pytest.mark.parametrize("kind", ["xid", "point", "to"])
def test_a_restore_to_between_two_rows_gives_exactly_the_rows_before_it(
    kind: str,
    between: dict[str, tuple[str, set[int]]],
    rows: Rows,
    pergola_backup: Callable[..., str],
    figures: Figures,
):
    target, expected = between[kind]
    pergola_backup("restore", f"--{kind}={target}")
    assert rows.there() == expected
    figures.restored += len(expected)
    rows.add(rows.next())
