"""The one lock: deploys in several calls, and programs that are one process."""

import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pergola import connection, lock
from pergola.errors import PergolaError
from pergola.lock import Caller, HeldError, Lock, Patience, Place, locked


@pytest.fixture(autouse=True)
def _no_connection(monkeypatch):
    """Whether these tests run over SSH changes nothing."""
    monkeypatch.setattr(lock.connection, "of_this_process", list)


@pytest.fixture
def notes(tmp_path):
    return Place("notes", tmp_path / "notes", "sudo /srv/notes/bin/release unlock")


def deploy(place, run="node/1/1", alive=("node/1/1",), unconnected=100, **more):
    caller = Caller(run, "ada@example.org", alive, lasts=100, unconnected=unconnected)
    return Lock(place, caller, "deploy of a", **more)


def at_work(place):
    """A phase at work, as another process would be."""
    file = (place.directory / ".lock").open("a")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def later(monkeypatch, seconds):
    now = lock.uptime()
    monkeypatch.setattr(lock, "uptime", lambda: now + seconds)


# -- runs of ansible-playbook ----------------------------------------------------------------------


def test_a_deploy_keeps_the_lock_from_one_phase_to_the_next(notes):
    with deploy(notes).hold():
        pass
    with deploy(notes).hold():  # the same run comes back
        pass
    with (
        pytest.raises(HeldError, match="is at work on notes since") as refused,
        deploy(notes, "other/7/7", ("other/7/7",)).hold(),
    ):
        pass
    assert "ada@example.org" in refused.value.reason
    assert "deploy of a" in refused.value.reason
    assert "release_lock_wait does" in refused.value.hint
    assert "bin/release unlock" in refused.value.hint


def test_the_state_of_a_deploy_goes_from_phase_to_phase_and_ends_with_it(notes):
    first = deploy(notes)
    with first.hold():
        first.save("gate", colour="green")
    second = deploy(notes)
    with second.hold():
        assert second.holder.shared == {"colour": "green"}
        assert second.holder.phase == "gate"
        assert second.holder.since == first.holder.since
        second.release()
    assert deploy(notes).read() is None


def test_a_run_that_takes_over_what_it_left_itself_begins_again(notes):
    first = deploy(notes)
    with first.hold():
        first.save("gate", colour="green")
        first.begin_again()
        assert (first.read().shared, first.read().phase) == ({}, "")
        assert first.read().run == "node/1/1"


def test_a_run_that_comes_back_waits_for_the_end_of_its_own_phase(notes):
    with deploy(notes).hold():
        pass
    phase = at_work(notes)
    threading.Timer(0.3, phase.close).start()
    with deploy(notes).hold():
        assert phase.closed


def test_a_run_whose_phase_is_over_leaves_the_lock_to_the_run_after_it(notes):
    """Also when its connection was lost so long ago that it knows nothing of that run."""
    with deploy(notes).hold():
        pass
    phase = at_work(notes)

    def next_run():
        path = notes.directory / "deploy.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"run": "node/2/2"}))
        phase.close()

    threading.Timer(0.3, next_run).start()
    with pytest.raises(HeldError, match="is at work on notes"), deploy(notes).hold():
        pass
    assert deploy(notes).read().run == "node/2/2"


def test_a_phase_of_nobody_that_does_not_end_is_refused(notes, monkeypatch):
    monkeypatch.setattr(lock, "SECONDS_WITHOUT_NAME", 0.1)
    with deploy(notes).hold():
        deploy(notes).release()
        with pytest.raises(HeldError, match="somebody is at work on notes"):
            deploy(notes).take((notes.directory / ".lock").open("a"))


def test_the_lock_of_a_dead_run_of_the_same_control_node_is_passed_over(notes):
    with (first := deploy(notes)).hold():
        first.save(colour="green")
    after = deploy(notes, "node/2/2", ("node/2/2",))
    with after.hold():
        assert after.holder.shared == {}, "the dead run's state was taken over"


def test_a_phase_that_a_dead_run_left_at_work_is_waited_for(notes):
    with deploy(notes).hold():
        pass
    phase = at_work(notes)
    threading.Timer(0.3, phase.close).start()
    with deploy(notes, "node/2/2", ("node/2/2",)).hold():
        assert phase.closed


def test_a_phase_that_was_waited_for_long_may_still_end_after_it_gave_its_name_back(
    notes, monkeypatch
):
    monkeypatch.setattr(lock, "SECONDS_WITHOUT_NAME", 0.3)
    first = deploy(notes, "node/1/1")
    with first.hold():
        pass
    phase = at_work(notes)
    threading.Timer(0.5, first.release).start()
    threading.Timer(0.7, phase.close).start()
    second = deploy(notes, "node/2/2", ("node/2/2",))
    with second.hold():
        assert second.read().run == "node/2/2"


def test_the_lock_of_a_living_run_of_the_same_control_node_holds(notes):
    with deploy(notes).hold():
        pass
    second = deploy(notes, "node/2/2", ("node/1/1", "node/2/2"))
    with pytest.raises(HeldError), second.hold():
        pass


def test_a_lock_that_nobody_renews_ends_by_itself(notes, monkeypatch):
    with deploy(notes).hold():
        pass
    later(monkeypatch, 101)
    with deploy(notes, "other/7/7", ()).hold():
        pass


@pytest.mark.parametrize(
    ("name", "seconds", "free"),
    [
        ("sshd", 99, False),  # connected, and silent: a hook, or a person who thinks
        ("sshd-session", 99, False),
        ("", 10, False),  # the connection is gone, and may come back
        ("", 60, True),
        ("bash", 60, True),  # another process has the number meanwhile
    ],
)
def test_a_lock_ends_soon_after_the_connection_of_its_run(notes, monkeypatch, name, seconds, free):
    words = ["S", "1", *["0"] * 17, "4711"]
    monkeypatch.setattr(connection, "of_this_process", lambda: [30, 4711])
    with deploy(notes, unconnected=50).hold():
        pass
    monkeypatch.setattr(connection, "stat_of", lambda _: (name, words if name else []))
    later(monkeypatch, seconds)
    other = deploy(notes, "other/7/7", ())
    if free:
        with other.hold():
            assert other.read().run == "other/7/7"
    else:
        with pytest.raises(HeldError), other.hold():
            pass


def test_the_end_of_another_deploy_is_waited_for_when_that_is_wanted(notes, monkeypatch):
    monkeypatch.setattr(lock, "LOOK_AGAIN_EVERY", 0)
    first = deploy(notes)
    with first.hold():
        pass
    second = deploy(notes, "other/7/7", (), patience=Patience(30))
    looks = []

    def check():
        looks.append(True)
        if len(looks) == 3:
            first.release()

    with second.hold(check):
        assert second.read().run == "other/7/7"
    assert len(looks) == 3


def test_a_run_that_began_while_another_waited_is_not_taken_for_dead(notes):
    """`alive` was said before the wait."""
    with deploy(notes, "node/2/2", ("node/2/2",)).hold():
        pass
    waiting = deploy(notes, "node/3/3", ("node/2/2", "node/3/3"), patience=Patience(1))
    looks = []

    def check():
        looks.append(True)
        if len(looks) == 2:
            held = json.loads(waiting.path.read_text())
            waiting.path.write_text(json.dumps(held | {"run": "node/4/4"}))

    with pytest.raises(HeldError), waiting.hold(check):
        pass


def test_whoever_has_nothing_left_to_do_leaves_the_lock_alone(notes):
    with deploy(notes).hold():
        pass

    def check():
        raise PergolaError("given up meanwhile")

    with pytest.raises(PergolaError, match="given up"), deploy(notes).hold(check):
        pass
    assert deploy(notes).read().pid == os.getpid()


def test_a_lock_by_hand_is_one_process(notes):
    here = Lock(notes, Caller("here/1", "ada", lasts=100), "rollback")
    with here.hold():
        pass  # killed before it could release it, say
    with Lock(notes, Caller("here/2", "ada", lasts=100), "rollback").hold():
        pass


# -- programs that are one process -----------------------------------------------------------------


def test_a_deploy_is_refused_while_a_program_is_at_work_and_hears_why(notes):
    with locked([notes], "a restart of PostgreSQL"):
        with pytest.raises(HeldError) as refused, deploy(notes).hold():
            pass
        assert "at work on notes since" in refused.value.reason
        assert "a restart of PostgreSQL" in refused.value.reason
    assert deploy(notes).read() is None
    with deploy(notes).hold():
        pass


def test_what_a_program_that_was_killed_has_left_keeps_nobody_out(notes):
    with locked([notes], "a restart of PostgreSQL"):
        left = (notes.directory / "deploy.json").read_text()
    (notes.directory / "deploy.json").write_text(left)
    with deploy(notes).hold():
        pass
    deploy(notes).release()
    (notes.directory / "deploy.json").write_text(left)
    with locked([notes], "another restart"):
        pass


def test_the_kernel_ends_the_lock_of_a_program_that_is_killed(notes):
    script = (
        "import sys, time; from pathlib import Path; from pergola.lock import Place, locked\n"
        f"with locked([Place('notes', Path('{notes.directory}'))], 'a restore'):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(lock.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout.readline() == "held\n"
        with pytest.raises(HeldError, match="a restore"), locked([notes], "an update"):
            pass
        program.kill()
        program.wait()
    with locked([notes], "an update"):
        assert Lock(notes, lock.this_process(), "").read().what == "an update"


def test_a_program_that_takes_what_it_has_is_refused_and_does_not_wait_for_itself(notes):
    with (
        locked([notes], "an update"),
        pytest.raises(HeldError, match="an update"),
        locked([notes], "a restart"),
    ):
        pass


def test_a_program_is_refused_while_a_phase_of_a_deploy_is_at_work(notes):
    with (
        deploy(notes).hold(),
        pytest.raises(HeldError, match=r"ada@example.org is at work on notes .*: deploy"),
        locked([notes], "a restart", Patience(0.3)),
    ):
        pass


def test_a_program_waits_for_a_deploy_between_its_phases(notes):
    with deploy(notes).hold():
        pass  # the lock's file stays until the deploy's last phase
    with (
        pytest.raises(HeldError, match="at work on notes") as refused,
        locked([notes], "a restart", Patience(0.3)),
    ):
        pass
    assert "release unlock" in refused.value.hint
    assert "release_lock_wait" not in refused.value.hint
    assert deploy(notes).read().run == "node/1/1"


def test_a_deploy_that_says_nothing_any_more_is_not_waited_for_as_long(notes, monkeypatch):
    with deploy(notes).hold():
        pass
    program = Lock(notes, lock.this_process(), "an update", Patience(300, silent=60))
    assert not program.gives_up(61, at_work=False)
    os.utime(program.path, (0, 0))
    assert program.gives_up(61, at_work=False)
    assert not program.gives_up(59, at_work=False)
    assert not program.gives_up(61, at_work=True)
    assert program.gives_up(300, at_work=True)


def test_a_program_passes_over_a_deploy_whose_connection_has_gone(notes, monkeypatch):
    monkeypatch.setattr(connection, "of_this_process", lambda: [30, 4711])
    with deploy(notes, unconnected=50).hold():
        pass
    monkeypatch.setattr(connection, "stat_of", lambda _: ("", []))
    later(monkeypatch, 60)
    with locked([notes], "an update"):
        pass


def test_several_places_are_held_in_one_order_and_all_or_none(tmp_path, notes, monkeypatch):
    server = Place("this server", tmp_path / "pergola")
    monkeypatch.setattr(lock, "SERVER", server)
    zoo = Place("zoo", tmp_path / "zoo")
    taken = []
    monkeypatch.setattr(
        Lock, "enter", lambda self, *_, enter=Lock.enter: taken.append(self.place.name) or enter(
            self, *_
        )
    )  # fmt: skip
    with locked([zoo, notes, server], "an update", phase="restart"):
        assert taken == ["this server", "notes", "zoo"]
        assert json.loads((zoo.directory / "deploy.json").read_text())["phase"] == "restart"
    with deploy(zoo).hold(), pytest.raises(HeldError), locked([zoo, notes], "an update"):
        pass
    with deploy(notes).hold():
        pass


def test_what_cannot_be_read_keeps_nobody_out_but_a_newer_pergola_does(notes):
    notes.directory.mkdir()
    (notes.directory / "deploy.json").write_text('{"run": "no')
    with locked([notes], "an update"):
        pass
    (notes.directory / "deploy.json").write_text('{"format": 99}')
    with pytest.raises(PergolaError, match="newer Pergola"), locked([notes], "an update"):
        pass


def test_what_the_phases_of_an_earlier_pergolas_deploy_shared_is_not_lost(notes):
    """It stood beside all the rest; the deploy's next call comes to this program."""
    notes.directory.mkdir()
    left = {
        "since": "2026-11-29 10:00:00 UTC", "seconds": {"prepare": 1.5}, "run": "node/1/1",
        "who": "ada@example.org", "what": "deploy of a", "until": lock.uptime() + 100,
        "unconnected_until": 1.5, "pid": 7, "connection": [], "from": "r0", "phase": "prepare",
        "colour": "green",
    }  # fmt: skip
    (notes.directory / "deploy.json").write_text(json.dumps(left))
    with pytest.raises(HeldError, match=r"ada@example.org is at work"), locked([notes], "a"):
        pass
    again = deploy(notes)
    with again.hold():
        shared = {"seconds": {"prepare": 1.5}, "from": "r0", "colour": "green"}
        assert again.holder.shared == shared
        assert (again.holder.since, again.holder.phase) == (left["since"], "prepare")
    assert lock.holder(notes).shared == shared


def test_a_lock_is_taken_from_whoever_is_dead(notes):
    with deploy(notes).hold():
        pass
    assert lock.unlock(notes).who == "ada@example.org"
    assert lock.unlock(notes) is None


# -- connections -----------------------------------------------------------------------------------


def test_the_connection_of_a_process_is_found_behind_sudo(monkeypatch):
    monkeypatch.undo()
    table = {os.getpid(): ("python3", 40), 40: ("sudo (x) y", 30), 30: ("sshd-session", 20)}
    table[20] = ("sshd", 1)
    found = {pid: (name, ["S", str(up), *["0"] * 17, "9"]) for pid, (name, up) in table.items()}
    monkeypatch.setattr(connection, "stat_of", lambda pid: found.get(pid, ("", [])))
    assert connection.of_this_process() == [30, 9]
    assert connection.is_open([30, 9])
    assert not connection.is_open([30, 8])
    assert not connection.is_open([31, 9])


def test_a_process_is_read_as_the_kernel_writes_it():
    name, words = connection.stat_of(os.getpid())
    assert name == Path("/proc/self/comm").read_text().strip()
    assert int(words[connection.PARENT]) == os.getppid()
    assert connection.stat_of(2**22 + 1) == ("", [])
