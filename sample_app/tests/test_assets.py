"""Static files."""

import gzip
import hashlib
import re
from pathlib import Path

import pytest
from linkboard import assets


async def test_pages_name_assets_by_their_hash(visitor) -> None:
    page = (await visitor.get("/login")).text
    urls = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    assert len(urls) == 3
    for url in urls:
        answer = await visitor.get(url)
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest()[:12] in url
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "style=" not in page
    assert "<script>" not in page


@pytest.mark.parametrize(
    "name",
    [
        "app.css",
        "htmx.min.js",
        "app.000000000000.css",
        "nothing",
        "..%2fmain.py",
        "vendor/htmx.min.js",
    ],
)
async def test_other_names_do_not_exist(visitor, name: str) -> None:
    assert (await visitor.get(f"/static/{name}")).status_code == 404


def test_collect(tmp_path: Path) -> None:
    out = tmp_path / "shared" / "assets"
    assert assets.collect(out) == 6
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert assets.collect(out) == 0
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    for path in out.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644
        if path.suffix == ".gz":
            assert gzip.decompress(path.read_bytes()) == path.with_suffix("").read_bytes()
    older = out / "app.0123456789ab.css"
    older.write_text("an older release's")
    damaged = out / assets.load()["app.css"].name
    damaged.write_text("cut short")
    assert assets.collect(out) == 1
    assert older.is_file()
    assert damaged.read_bytes() == assets.load()["app.css"].content


def test_a_release_without_assets_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="run sample_app/build"):
        assets.load(tmp_path)
