"""Static files stay as long as a page that names them may be open, and no longer than needed."""

import pytest
from load import Request

ASSETS = "/srv/probe/assets"
FOR_EVER = "public, max-age=31536000, immutable"


def style(letter):
    return f"/static/app.{letter * 12}.css"


SHARED = "/static/shared.0123456789ab.css"


@pytest.fixture(scope="module")
def release(probe, server, deploy):
    """Deploy a release with a style sheet of its own, and one that all of them have."""
    probe.reset()
    (probe.path / "static").mkdir(exist_ok=True)
    (probe.path / "static" / SHARED.rpartition("/")[2]).write_text("/* shared */")

    def run(letter, **more):
        for path in (probe.path / "static").glob("app.*"):
            path.unlink()
        name = style(letter).removeprefix("/")
        probe.commit(name, f"/* {letter} */", f"The style sheet {letter}")
        deploy(app_static_dir="static", **more)
        return server.live()

    yield run
    probe.reset()
    deploy(probe.commit("note", "assets", "After the assets"))


@pytest.fixture(scope="module")
def first(release):
    return release("a")


@pytest.fixture(scope="module")
def seen(first, release, rollback, load, server):
    """A deploy and a rollback while the old pages' style sheet is asked for all the time."""
    old = [Request("GET", style("a")), Request("GET", SHARED), Request("GET", "/")]
    with load(rate=30, requests=old) as running:
        second = release("b")
        rollback()
        result = running.end()
    assert server.live() == first
    return {"load": result, "second": second}


def is_served(site, letter):
    answer = site.get(style(letter))
    if answer.status_code == 404:
        return False
    assert answer.raise_for_status().text == f"/* {letter} */"
    assert answer.headers["cache-control"] == FOR_EVER
    assert "x-release" not in answer.headers, "it came from the application"
    return True


def test_pages_of_the_old_release_keep_their_assets_across_a_deploy_and_a_rollback(seen, first):
    load = seen["load"]
    assert load.failed == 0, load.first_failures
    assert {first, seen["second"]} <= set(load.releases)


def test_pages_of_a_release_that_was_rolled_back_from_keep_theirs(seen, site):
    assert is_served(site, "b")
    assert is_served(site, "a")


def test_assets_that_no_kept_release_uses_are_removed_and_no_others(
    seen, first, release, site, server
):
    third = release("c", release_keep=1)

    assert server.kept() == {first, third}
    assert is_served(site, "c")
    assert is_served(site, "a")
    assert not is_served(site, "b")
    assert site.get(SHARED).raise_for_status().text == "/* shared */"
    names = set(server.host.file(ASSETS).listdir())
    assert names == {path.rpartition("/")[2] for path in (style("a"), style("c"), SHARED)}
