"""An index and a git repository that want a name and a password, as a company's own do."""

import base64
import functools
import http.server
import os
import subprocess
import threading
from pathlib import Path

from shapes import BARE, UV_LOCK, Shape, package, project

NAME, PASSWORD = "deploy", "a word/that:is secret"
GIT = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org"]


class Closed(http.server.SimpleHTTPRequestHandler):
    """Files for whoever says name and password."""

    def do_GET(self) -> None:
        login = base64.b64encode(f"{NAME}:{PASSWORD}".encode()).decode()
        if self.headers["Authorization"] == f"Basic {login}":
            super().do_GET()
        else:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="company"')
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Company:
    """A server of packages on the test network, and an application that needs two of them."""

    def __init__(self, folder: Path, uv: str, address: str) -> None:
        self.folder, self.uv = folder, uv
        handler = functools.partial(Closed, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer((address, 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://{address}:{self.server.server_address[1]}"
        self.host = address
        self.build("words", 'HELLO = "of the index"\n')
        self.build("greeting", 'HELLO = "of git"\n', repository=True)

    def build(self, name: str, code: str, *, repository: bool = False) -> None:
        """A package in the index, or as a repository."""
        source = self.folder / "sources" / name
        (source / "src" / name).mkdir(parents=True)
        (source / "src" / name / "__init__.py").write_text(code)
        (source / "pyproject.toml").write_text(package(name))
        if repository:
            bare = self.folder / f"{name}.git"
            for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "First"]):
                subprocess.run([*GIT, *command], cwd=source, check=True)
            subprocess.run([*GIT, "clone", "-q", "--bare", source, bare], check=True)
            subprocess.run([*GIT, "update-server-info"], cwd=bare, check=True)
            return
        page = self.folder / "simple" / name
        page.mkdir(parents=True)
        build = [self.uv, "build", "--quiet", "--wheel", "--out-dir", str(page), str(source)]
        subprocess.run(build, check=True)
        (wheel,) = page.glob("*.whl")
        (page / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')

    def shape(self) -> Shape:
        sources = (
            f'[[tool.uv.index]]\nname = "company"\nurl = "{self.url}/simple"\nexplicit = true\n'
            '[tool.uv.sources]\nwords = { index = "company" }\n'
            f'greeting = {{ git = "{self.url}/greeting.git" }}\n'
        )
        return Shape(
            "private-packages",
            {
                "pyproject.toml": project("web", "words", "greeting", more=sources),
                "web.py": "import greeting\nimport words\n\n"
                'PAGES = {"/words": lambda: words.HELLO, "/git": lambda: greeting.HELLO}\n' + BARE,
            },
            UV_LOCK,
            {
                "app_asgi": "web:app",
                "app_build_secrets": {
                    "UV_INDEX_COMPANY_USERNAME": NAME,
                    "UV_INDEX_COMPANY_PASSWORD": PASSWORD,
                },
                "app_build_netrc": self.netrc(),
            },
            {"/words": "of the index", "/git": "of git"},
        )

    def netrc(self) -> str:
        return f'machine {self.host} login {NAME} password "{PASSWORD}"'

    def environment(self, home: Path) -> dict[str, str]:
        """What the developer has who makes the lock."""
        (home / ".netrc").write_text(self.netrc())
        (home / ".netrc").chmod(0o600)
        return {
            "HOME": str(home),
            "UV_EXCLUDE_NEWER": "",  # the index does not say when its packages came
            "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache/uv")),
            "UV_INDEX_COMPANY_USERNAME": NAME,
            "UV_INDEX_COMPANY_PASSWORD": PASSWORD,
        }
