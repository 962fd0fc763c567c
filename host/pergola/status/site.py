"""What a visitor sees of each site, judged first of all."""

import datetime
import ipaddress
import time
from collections.abc import Iterator

from pergola.people import DAY, duration
from pergola.records import accepts
from pergola.status.look import CRITICAL, OK, SKIPPED, UNKNOWN, WARNING, Finding, Look
from pergola.status.seen import Answer, Application, Tls
from pergola.status.visit import BROKEN, UNAVAILABLE

ELSEWHERE = 421
SERVES = 200
# Fewer failed answers than this say nothing, whatever their share.
FEWEST_ERRORS = 5
# Names that no public authority gives certificates for: RFC 2606, 6761, 6762, 8375, and ICANN's.
NEVER_PUBLIC = ("test", "localhost", "example", "invalid", "local", "internal", "home.arpa")


def sites(look: Look) -> Iterator[Finding]:
    """The front page by the site's name, over HTTPS, through Caddy."""
    for app, answer in of_each(look, "site"):
        name = f"site {app.domain}{app.path}"
        if app.release is None and not app.edge:
            yield Finding(name, SKIPPED, f"no release of {app.app} yet")
        elif app.paused:
            yield Finding(name, UNKNOWN, app.at_work)
        else:
            yield Finding(name, *of_visitor(app, answer))


def of_visitor(app: Application, answer: Answer) -> tuple[str, str]:
    """What somebody gets who opens the site."""
    url, status = f"https://{app.domain}{app.path or '/'}", answer.status
    if app.behind:
        url += f" by {app.behind}"
    text = f" ({answer.text})" if answer.text else ""
    if status is None:
        return CRITICAL, f"DOWN: GET {url}: {answer.error or 'no answer'}; {see(app)}"
    if status == UNAVAILABLE and app.page:
        return OK, f"GET {url}: the maintenance page"
    if status == ELSEWHERE:
        return CRITICAL, (
            f"DOWN: Caddy has no site of that name{text}: /etc/caddy/{app.app}.caddy is missing or "
            "not loaded; run deploy.yml"
        )
    if status >= BROKEN:
        return CRITICAL, f"GET {url} answers {status}{text}; {see(app)}"
    return OK, f"GET {url} answers {status}"


def see(app: Application) -> str:
    """Where to look for why a site does not answer."""
    if app.edge:
        return "see `systemctl status caddy`, and status.yml for the hosts of the group app"
    unit = f"{app.app}@{app.colour}"
    return (
        f"see `systemctl status caddy {unit}.socket {unit}.service` and "
        f"`journalctl -u {unit} -n 50`; playbooks/rollback.yml brings the release before back"
    )


def upstreams(look: Look) -> Iterator[Finding]:
    """Which of the hosts behind an edge take requests."""
    told = look.seen.asked or {}
    for app in with_sites(look):
        asked = {name: told.get(f"upstream {app.app} {name}", Answer()) for name in app.upstreams}
        serving = [name for name, answer in asked.items() if answer.status == SERVES]
        for name, answer in asked.items():
            what = f"upstream {name} {app.app}"
            if answer.status == SERVES:
                yield Finding(what, OK, f"{name} takes requests ({app.upstreams[name]})")
                continue
            why = "it is out of service" if answer.status == UNAVAILABLE else answer.error
            others = f"{', '.join(serving)} serve all of them" if serving else "nobody serves them"
            says = (
                f"{name} ({app.upstreams[name]}) takes no requests of {app.domain}: "
                f"{why or f'it answers {answer.status}'}; {others}. See status.yml for {name}"
            )
            yield Finding(what, WARNING if serving else CRITICAL, says)


def health(look: Look) -> Iterator[Finding]:
    """The live slot at its health path, as the gate of a deploy asks it."""
    for app, answer in of_each(look, "slot"):
        if app.release is None:
            continue
        name = f"health {app.app}"
        if app.at_work:
            yield Finding(name, UNKNOWN, app.at_work)
            continue
        where = f"{app.release} in slot {app.colour}, GET {app.health}"
        if accepts(app.accepted, answer.status):
            yield Finding(name, OK, f"{where}: {answer.status}")
            continue
        got = answer.error or f"{answer.status or 'no answer'} {answer.text}".strip()
        yield Finding(
            name,
            CRITICAL,
            f"{where}: {got}; see `journalctl -u {app.app}@{app.colour} -n 50`, and whether "
            "what it needs (database, connections) is there",
        )


def https(look: Look) -> Iterator[Finding]:
    """Whether browsers accept the certificate that the site presents."""
    for app, answer in of_each(look, "site"):
        name = f"https {app.domain}"
        # The domain's own application tells of it; behind an edge there is none.
        if (app.release is None and not app.edge) or app.path or app.behind:
            continue
        if answer.tls is None:
            yield Finding(name, UNKNOWN, "no connection was made")
        elif answer.tls.trusted:
            yield Finding(name, OK, "browsers accept its certificate")
        elif answer.tls.own and never_public(app.domain):
            yield Finding(name, OK, "of Caddy's own authority: nobody gives any for such a name")
        else:
            visited = points_here(look, app) is True
            yield Finding(name, *not_accepted(app, answer.tls, visited))


def not_accepted(app: Application, tls: Tls, visited: bool) -> tuple[str, str]:
    """How bad a certificate is that browsers refuse: it depends on whether visitors come here."""
    what = "Caddy's own" if tls.own else "not valid"
    says = f"no browser accepts its certificate, which is {what}: {tls.why}"
    if app.certificates == "internal":
        return WARNING, (
            f"{says}. It is set so (app_certificates: internal); set auto, or acme behind a load "
            "balancer, and run deploy.yml"
        )
    if app.certificates == "own":
        return CRITICAL, f"{says}. Put another one into app_certificate, and run deploy.yml"
    if app.certificates == "auto" and not visited:
        return WARNING, f"{says}. The name does not point here yet; then run deploy.yml"
    return CRITICAL, f"{says}; see `journalctl -u caddy | grep -i -e obtain -e renew`"


def never_public(domain: str) -> bool:
    """Whether no public authority gives a certificate for a name."""
    try:
        ipaddress.ip_address(domain)
    except ValueError:
        return any(domain == end or domain.endswith(f".{end}") for end in NEVER_PUBLIC)
    return True


def points_here(look: Look, app: Application) -> bool | None:
    """Whether the site's name has an address of this host; None: it is not known."""
    told = (look.seen.asked or {}).get(f"dns {app.app}", Answer())
    if told.addresses is None:
        return None
    return bool({*told.addresses} & {*(look.seen.addresses or []), *app.addresses})


def domains(look: Look) -> Iterator[Finding]:
    """Whether the names lead here, where a certificate depends on it."""
    for app, told in of_each(look, "dns"):
        name, addresses = f"domain {app.domain}", told.addresses or []
        here, where = points_here(look, app), ", ".join(addresses[:3])
        if here is None:
            yield Finding(name, UNKNOWN, told.error or "not asked")
        elif here:
            yield Finding(name, OK, f"points to this server ({where})")
        else:
            says = f"points to {where}, not to this server" if where else "does not resolve"
            says += (
                ": visitors do not get here, and its certificate cannot be renewed. Change the A "
                "and AAAA records; behind a load balancer or CDN set app_certificates: acme"
            )
            yield Finding(name, WARNING, says)


def answers(look: Look) -> Iterator[Finding]:
    """The share of failed answers among those that visitors got since the last look."""
    for app in with_sites(look):
        told = (look.seen.answered or {}).get(app.app)
        if told is None:
            continue
        name, total, errors = f"answers {app.domain}", told.answers, told.errors
        percent = 100 * errors / max(1, total)
        state = look.level(name, "errors_percent", percent) if errors >= FEWEST_ERRORS else OK
        says = f"{errors} of {total} since the last look were errors of the server (5xx)"
        if state != OK:
            wanted = f"grep -E '\"status\":5' {told.log} | tail -n 3"
            says += f", {percent:.0f} %; see which with `{wanted}`"
        yield Finding(name, state, says)


def pages(look: Look) -> Iterator[Finding]:
    """A maintenance page that nobody took away."""
    for app in with_sites(look):
        name, page = f"page {app.app}", app.page
        if page is None:
            yield Finding(name, OK, "the maintenance page is off")
            continue
        age = max(0.0, look.seen.wall - page.since)
        since = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(page.since))
        says = f"{page.who} turned the maintenance page on {duration(age)} ago ({since})"
        if page.until and look.seen.wall < page.until:
            left = duration(page.until - look.seen.wall)
            yield Finding(name, OK, f"{says}; it ends by itself in {left}")
            continue
        says += (
            f": every visitor of {app.domain} gets 503. If that is over: "
            f"`/srv/{app.app}/bin/release maintenance off`"
        )
        yield Finding(name, WARNING, says)


def workers(look: Look) -> Iterator[Finding]:
    """What is live of those without a site; their processes are units."""
    for app in look.seen.apps or []:
        if not app.web:
            state = OK if app.release else SKIPPED
            says = f"{app.release} in slot {app.colour}, without a site" if app.release else ""
            yield Finding(f"release {app.app}", state, says or f"no release of {app.app} yet")


def drains(look: Look) -> Iterator[Finding]:
    """A release that the last deploy had to kill: for a day, as nothing is left to be done."""
    for app in look.seen.apps or []:
        name, entry = f"drain {app.app}", app.killed
        at = datetime.datetime.fromisoformat(entry.time).timestamp() if entry else 0
        if entry is None or look.seen.wall - at > DAY:
            yield Finding(name, OK, "the release before ended within its time")
            continue
        yield Finding(
            name,
            WARNING,
            f"the last deploy ({entry.time[:16].replace('T', ' ')} UTC) had to kill {entry.to}: "
            f"{entry.reason}. If that was wanted work, raise app_drain_seconds, or let it be done "
            "by a process (app_processes)",
        )


def migrations(look: Look) -> Iterator[Finding]:
    """What a release left for when it serves, and has failed: until a deploy succeeds with it."""
    for app in look.seen.apps or []:
        name, entry = f"migrate_after {app.app}", app.unmigrated
        if entry is None:
            yield Finding(name, OK, "nothing of the last deploy is left to be done")
            continue
        yield Finding(
            name,
            WARNING,
            f"app_migrate_after_command of {entry.to} failed ({entry.time[:16].replace('T', ' ')} "
            f"UTC): {entry.reason}. The release serves; deploy again",
        )


def with_sites(look: Look) -> list[Application]:
    return [app for app in look.seen.apps or [] if app.web]


def of_each(look: Look, kind: str) -> Iterator[tuple[Application, Answer]]:
    """Each site of this host with one kind of answer, where that was asked for."""
    told = look.seen.asked or {}
    for app in with_sites(look):
        if kind != "dns" or f"dns {app.app}" in told:
            yield app, told.get(f"{kind} {app.app}", Answer())


CHECKS = (sites, upstreams, health, https, domains, answers, pages, workers, drains, migrations)
