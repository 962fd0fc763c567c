"""PostgreSQL by 127.0.0.1 and a password, beside the socket, for an application that asked for it.

What was made stays, also when it is not asked for any more: an earlier release may need it.
"""

from pergola import access, apps
from pergola.app.order import Order
from pergola.postgres import Cluster, quoted

ADDRESS = "127.0.0.1/32"
KEPT = "select coalesce(rolpassword, '') from pg_authid where rolname = '{role}'"


def rule(order: Order) -> str:
    """The line of pg_hba.conf for the application and its migrations."""
    names = ",".join(quoted(one.name) for one in order.databases)
    roles = f"{quoted(order.app)},{quoted(access.migration_role(order.app))}"
    return f"host {names} {roles} {ADDRESS} scram-sha-256"


def bring(order: Order, cluster: Cluster, only_look: bool = False, lines: bool = True) -> list[str]:
    """Have the application let in so; what was missing, in words.

    `lines`: the line of pg_hba.conf is this one's to add.
    """
    if not order.tcp:
        return []
    made = []
    file = cluster.sql("show hba_file")
    why = f"how {order.app} signs in by TCP"
    there = cluster.sql("select pg_read_file(current_setting('hba_file'))").splitlines()
    if lines and rule(order) + access.marked(why) not in there:
        made.append(f"{order.app} may sign in by {ADDRESS}")
        if not only_look:
            with access.files_locked():
                access.put_first(file, rule(order), why)
            cluster.sql("select pg_reload_conf()")
    home = apps.HOMES / order.app
    secret = access.password(home) if only_look else access.make_password(home)
    kept = cluster.sql(KEPT.format(role=order.app))
    if not secret or not access.is_verifier_of(kept, secret):
        made.append(f"a password of {order.app}")
        if not only_look:
            # A verifier is no secret to guess the password by, and so none in PostgreSQL's log.
            cluster.sql(f"alter role {quoted(order.app)} password '{access.verifier(secret)}'")
    return made
