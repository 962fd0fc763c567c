"""The states as Prometheus's text format, for the node exporter."""

from collections.abc import Mapping

from pergola.results import Result
from pergola.status.look import RANK
from pergola.status.report import Status

HEAD = """\
# HELP pergola_check_state State of a check: 0 ok, 1 warning, 2 critical.
# TYPE pergola_check_state gauge
"""
JOBS = """\
# HELP pergola_job_ok Whether the last run of a job succeeded.
# TYPE pergola_job_ok gauge
# HELP pergola_job_end_timestamp_seconds When the last run of a job ended.
# TYPE pergola_job_end_timestamp_seconds gauge
# HELP pergola_job_duration_seconds How long the last run of a job took.
# TYPE pergola_job_duration_seconds gauge
"""
LOOK = """\
# HELP pergola_look_timestamp_seconds When the checks were last made.
# TYPE pergola_look_timestamp_seconds gauge
"""


def label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def page(status: Status, results: Mapping[str, Result]) -> str:
    """All metrics; `results` are those of the jobs."""
    lines = [HEAD]
    lines += [
        f'pergola_check_state{{check="{label(check.name)}"}} {RANK[check.state]}\n'
        for check in status.checks
    ]
    lines.append(JOBS if results else "")
    for name, values in (
        ("pergola_job_ok", {job: int(one.ok) for job, one in results.items()}),
        ("pergola_job_end_timestamp_seconds", {job: one.ended for job, one in results.items()}),
        ("pergola_job_duration_seconds", {job: one.seconds for job, one in results.items()}),
    ):
        lines += [f'{name}{{job="{label(job)}"}} {value}\n' for job, value in values.items()]
    lines.append(f"{LOOK}pergola_look_timestamp_seconds {status.wall:.0f}\n")
    return "".join(lines)
