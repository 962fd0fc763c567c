"""The states as Prometheus's text format, for the node exporter."""

from typing import Any

from monitoring.checks import RANK

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


def page(status: dict[str, Any]) -> str:
    """All metrics."""
    lines = [HEAD]
    lines += [
        f'pergola_check_state{{check="{label(check["name"])}"}} {RANK[check["state"]]}\n'
        for check in status["checks"]
    ]
    results = {name: one for name, one in status["jobs"].items() if isinstance(one, dict)}
    lines.append(JOBS if results else "")
    for name, value in (
        ("pergola_job_ok", lambda one: int(bool(one.get("ok")))),
        ("pergola_job_end_timestamp_seconds", lambda one: float(one["ended"])),
        ("pergola_job_duration_seconds", lambda one: float(one.get("seconds") or 0)),
    ):
        lines += [f'{name}{{job="{label(job)}"}} {value(one)}\n' for job, one in results.items()]
    lines.append(f"{LOOK}pergola_look_timestamp_seconds {status['wall']:.0f}\n")
    return "".join(lines)
