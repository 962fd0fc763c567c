"""Measures on the test host, as root; started by `postgresql`, which reads the JSON on stdout.

The server's settings are replaced by those of each configuration in turn, and it is restarted; the
data stays. Latencies are read from pgbench's own log of every transaction.
"""

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

WORK = Path("/var/lib/bench-postgresql")
DATABASE = "bench"
WARM_UP = 3  # seconds
UNCOUNTED = "ours without pg_stat_statements"
# What is asked: pgbench's options.
LOADS = {"TPC-B-like": (), "read only": ("--builtin=select-only",)}


def run(*command: str) -> str:
    """Run a command as PostgreSQL's account; its output. RuntimeError with what it wrote."""
    done = subprocess.run(
        ["runuser", "-u", "postgres", "--", *command],
        cwd=WORK,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def sql(query: str) -> str:
    return run("psql", "-XAtqc", query).strip()


def pgtune_web(memory_mb: int) -> str:
    """What pgtune gives a "web" server with an SSD and fewer than 4 CPUs, in MB of memory."""
    shared = memory_mb // 4
    connections, processes = 200, 8
    values = {
        "max_connections": connections,
        "shared_buffers": f"{shared}MB",
        "effective_cache_size": f"{memory_mb * 3 // 4}MB",
        "maintenance_work_mem": f"{memory_mb // 16}MB",
        "checkpoint_completion_target": 0.9,
        "wal_buffers": f"{min(shared * 3 // 100, 16)}MB",
        "default_statistics_target": 100,
        "random_page_cost": 1.1,
        "effective_io_concurrency": 200,
        "work_mem": f"{max((memory_mb - shared) // ((connections + processes) * 3), 4)}MB",
        "huge_pages": "try" if shared >= 2048 else "off",
        "min_wal_size": "1GB",
        "max_wal_size": "4GB",
        "jit": "off",
        "wal_compression": "lz4",
        "listen_addresses": "''",
    }
    return "".join(f"{name} = {value}\n" for name, value in values.items())


class Server:
    """The cluster `main`, and the files of its settings."""

    def __init__(self) -> None:
        (self.version,) = (path.name for path in Path("/etc/postgresql").iterdir())
        self.file = Path(f"/etc/postgresql/{self.version}/main/conf.d/pergola.conf")
        self.ours = self.file.read_text()

    def take(self, text: str) -> None:
        self.file.write_text(text)
        subprocess.run(["systemctl", "restart", f"postgresql@{self.version}-main"], check=True)


def measure(options: tuple[str, ...], clients: int, seconds: int) -> dict[str, float]:
    """One run of pgbench: transactions per second, and latencies in milliseconds."""
    for log in WORK.glob("log.*"):
        log.unlink()
    sql("checkpoint")
    common = ["pgbench", f"--client={clients}", "--jobs=2", "--protocol=prepared", *options]
    run(*common, f"--time={WARM_UP}", DATABASE)
    run(*common, f"--time={seconds}", "--log", "--log-prefix=log", "--no-vacuum", DATABASE)
    taken: list[int] = []
    for log in WORK.glob("log.*"):
        taken += [int(line.split()[2]) for line in log.read_text().splitlines()]
    taken.sort()
    return {
        "tps": len(taken) / seconds,
        "p50": taken[len(taken) // 2] / 1e3,
        "p99": taken[int(len(taken) * 0.99)] / 1e3,
        "worst": taken[-1] / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("rounds", "seconds", "scale", "clients", "memory"):
        parser.add_argument(f"--{name}", type=int, required=True)
    wanted = parser.parse_args()
    WORK.mkdir(exist_ok=True)
    shutil.chown(WORK, "postgres")
    server = Server()
    configurations = {
        "distribution": "listen_addresses = ''\n",
        "pgtune web": pgtune_web(wanted.memory),
        "ours": server.ours,
        UNCOUNTED: "".join(
            line for line in server.ours.splitlines(True) if "pg_stat_statements" not in line
        ),
    }
    if DATABASE not in sql("select datname from pg_database").split():
        sql(f"create database {DATABASE}")
        run("pgbench", "--initialize", "--quiet", f"--scale={wanted.scale}", DATABASE)
    rows = []
    for number in range(wanted.rounds):
        # Each begins a round once, so that none always comes after the same other.
        order = list(configurations)
        first = number % len(order)
        for name in order[first:] + order[:first]:
            server.take(configurations[name])
            for load, options in LOADS.items():
                print(f"bench: round {number + 1}, {name}, {load}", file=sys.stderr, flush=True)
                seen = measure(options, wanted.clients, wanted.seconds)
                rows.append({"load": load, "configuration": name, **seen})
    size = sql(f"select pg_database_size('{DATABASE}')")
    version = sql("show server_version").split()[0]
    print(
        json.dumps({"rows": rows, "about": {"postgresql": version, "database_mb": int(size) >> 20}})
    )


if __name__ == "__main__":
    main()
