"""The workflow runs every scenario on every Ubuntu that is supported."""

import yaml
from runs import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
JOBS = WORKFLOW["jobs"]
# Their hosts are made from Debian's archive.
ON_DEBIAN = {"versions", "ubuntu-like", "next"}


def test_every_scenario_has_a_job():
    scenarios = {path.parent.name for path in ROOT.glob("molecule/*/molecule.yml")}
    # releases is run in two parts.
    wanted = scenarios - ON_DEBIAN - {"releases"} | {"releases-others", "releases-dying"}
    assert {*JOBS["scenario"]["strategy"]["matrix"]["step"]} == wanted | {"bench"}
    (command,) = [
        step["run"] for step in JOBS["scenario"]["steps"] if "make" in step.get("run", "")
    ]
    assert command == "make test-${{ matrix.step }}"


def test_the_demo_unit_tests_and_lint_run_once_for_each_system():
    (step,) = [step for step in JOBS["readme"]["steps"] if step.get("run") == ".ci/run"]
    assert step["env"]["TEST_STEPS"].split() == ["unit", "sample-app", "lint"]


def test_the_runners_are_the_ubuntu_releases_that_pergola_supports():
    systems = yaml.safe_load((ROOT / "roles/preflight/vars/main.yml").read_text())
    for job in JOBS.values():
        runners = job["strategy"]["matrix"]["runner"]
        assert runners == [f"ubuntu-{v}" for v in systems["__preflight_systems"]["Ubuntu"]]
        assert job["runs-on"] == "${{ matrix.runner }}"
