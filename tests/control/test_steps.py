"""Which phases of a deploy run where, in which order (role release's filter release_steps)."""

import importlib.util
from pathlib import Path

PLUGIN = Path(__file__).parents[2] / "roles/release/filter_plugins/release_steps.py"
spec = importlib.util.spec_from_file_location("release_steps", PLUGIN)
plugin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plugin)

DEPLOY = ["prepare", "migrate", "gate", "switch", "bake", "drain"]
ROLLBACK = DEPLOY[2:]
AFTER = [*DEPLOY, "migrate_after"]


def steps(phases, hosts, *hooks):
    """The steps as (phases, hosts) pairs, with the hooks around them where there are any."""
    told = []
    for step in plugin.release_steps(phases, list(hosts), hooks):
        around = [step[name] for name in ("before", "after") if step[name]]
        told.append((" ".join(step["phases"]), "".join(step["hosts"]), *around))
    return told


def test_one_host_goes_through_all_phases_in_one_round_trip():
    assert steps(DEPLOY, "a") == [(" ".join(DEPLOY), "a")]
    assert steps(ROLLBACK, "a") == [("gate switch bake drain", "a")]


def test_two_hosts_wait_for_each_other():
    assert steps(DEPLOY, "ab") == [
        ("prepare", "ab"),
        ("migrate", "a"),
        ("gate", "ab"),
        ("switch bake", "a"),
        ("switch bake", "b"),
        ("drain", "ab"),
    ]


def test_of_three_hosts_one_is_tried_then_the_others_together():
    assert steps(ROLLBACK, "abc") == [
        ("gate", "abc"),
        ("switch bake", "a"),
        ("switch bake", "bc"),
        ("drain", "abc"),
    ]


def test_hooks_come_between():
    hooks = ["before_prepare.yml", "after_gate.yml", "before_bake.yml", "after_drain.yml"]
    assert steps(DEPLOY, "a", *hooks) == [
        ("prepare migrate gate", "a", "before_prepare.yml", "after_gate.yml"),
        ("switch", "a"),
        ("bake drain", "a", "before_bake.yml", "after_drain.yml"),
    ]


def test_a_hook_of_a_switch_comes_before_the_first_host_and_after_the_last():
    hooks = ["before_switch.yml", "after_switch.yml"]
    assert steps(ROLLBACK, "ab", *hooks) == [
        ("gate", "ab"),
        ("switch bake", "a", "before_switch.yml"),
        ("switch", "b", "after_switch.yml"),
        ("bake", "b"),
        ("drain", "ab"),
    ]


def test_a_hook_of_a_migration_runs_around_its_only_host():
    assert steps(DEPLOY, "ab", "before_migrate.yml", "after_migrate.yml")[1] == (
        "migrate",
        "a",
        "before_migrate.yml",
        "after_migrate.yml",
    )


def test_what_comes_after_the_switch_is_for_one_host_when_all_have_completed_it():
    assert steps(AFTER, "a") == [(" ".join(AFTER), "a")]
    assert steps(AFTER, "ab")[-2:] == [("drain", "ab"), ("migrate_after", "a")]
    hooks = ["before_migrate_after.yml", "after_migrate_after.yml"]
    assert steps(AFTER, "ab", *hooks)[-1] == ("migrate_after", "a", *hooks)


def test_every_hook_of_every_phase_is_run_once_whatever_the_hosts():
    hooks = [f"{when}_{phase}.yml" for phase in DEPLOY for when in ("before", "after")]
    for hosts in ("a", "ab", "abc"):
        found = [name for step in steps(DEPLOY, hosts, *hooks) for name in step[2:]]
        assert sorted(found) == sorted(hooks)


def test_a_hook_of_the_bake_comes_before_the_first_bake():
    found = [step for step in steps(DEPLOY, "ab", "before_bake.yml") if len(step) > 2]
    assert found == [("bake", "a", "before_bake.yml")]


def test_a_point_of_another_host_comes_right_before_what_changes_the_database():
    found = plugin.release_steps(AFTER, ["a"], (), points=True)
    told = [(" ".join(step["phases"]), step["point"]) for step in found]
    assert told == [
        ("prepare", False),
        ("migrate gate switch bake drain", True),
        ("migrate_after", True),
    ]
