"""What a person needs at three in the morning, in the order of the questions."""

from pergola.errors import PergolaError
from pergola.release.releases import Releases


def report(releases: Releases, error: PergolaError, phase: str, release: str = "") -> str:
    """A failure of an application's: where, what, the evidence, what is live, what comes next."""
    lines = [
        f"{releases.app.name} on {releases.host}: {error.reason}",
        f"phase: {phase}" + (f" of release {release}" if release else ""),
    ]
    if error.evidence:
        lines.append(error.evidence)
    lines.append(f"live now: {live(releases)}")
    program = f"sudo {releases.home}/bin/release"
    usual = f"fix that and run again; {program} releases shows what was tried"
    lines.append(f"next: {error.hint or usual}")
    return "\n".join(lines)


def live(releases: Releases) -> str:
    try:
        return releases.describe_live()
    except PergolaError as error:  # another one than the report is about, perhaps
        return f"unknown: {error.reason}"
