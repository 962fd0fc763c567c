"""An application that writes more than its share does not push others' lines out unnoticed."""

# Joins the slot's unit, so that journald takes its lines for the application's. It says what it
# dropped with the unit's first line after its interval, so the writing goes on for a while.
FLOOD = """
echo $$ >/sys/fs/cgroup$(systemctl show --property=ControlGroup --value {unit})/cgroup.procs
seq -f 'flood %.0f' 30000 | systemd-cat
for i in $(seq 130); do echo "flood again $i"; sleep 0.1; done | systemd-cat
journalctl --sync
"""
LINES = 30130


def test_dropped_lines_are_told_with_their_unit_and_number(watched, told, fickle):
    unit = f"probe@{fickle}.service"
    watched.host.check_output("sh -c %s", FLOOD.format(unit=unit))
    kept = watched.host.check_output(f"journalctl --unit {unit} --output cat --grep '^flood '")
    dropped = LINES - len(kept.splitlines())
    assert dropped > 0
    watched.looks_until(told, ("journal", "warning"))
    assert f"{dropped} lines of {unit} were dropped in the last hour" in watched.says("journal")
    watched.host.check_output("journalctl --quiet --rotate --vacuum-time=1s")
    watched.looks_until(told, ("journal", "ok"))
