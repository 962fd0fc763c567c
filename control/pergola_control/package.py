"""The package that runs on servers: its digest, and the scripts that bring it and call it there.

They are for a server's sh and need nothing but its own programs, for they run before all else.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import runpy
import shlex
import tarfile
from collections.abc import Sequence

from pergola_control.here import ROOT

HOST = ROOT / "host"
LIB = "/usr/local/lib/pergola"
PYTHON = "/usr/bin/python3"
# sudo looks no longer into /usr/local from Debian 14 on.
PLACES = ("/usr/local/sbin", "/usr/sbin")
# Where earlier Pergolas had the modules of one program each; all are in the package now.
FORMER = ("backups", "database", "monitoring", "pergola", "upgrades")
NOT_THERE = 127  # the exit code of a script whose program is not there

# What both round trips know. The digest is that of a list of digests, which any system's own
# programs can make. One run at a time works in the directory.
COMMON = r"""set -eu; umask 022; lib={lib}; want={want}; dry={dry}; did=
digest() {{
  (cd "$1" && find . -type f ! -name '*.pyc' | LC_ALL=C sort | xargs -d '\n' sha256sum) \
    | sha256sum | cut -c 1-64
}}
link() {{
  [ "$(readlink "$2" || :)" != "$1" ] || return 0
  did=1
  [ -z "$dry" ] || return 0
  ln -sfnT "$1" "$2.new" && mv -T "$2.new" "$2"
}}
enforce() {{
  before=$(readlink "$lib/current" || :)
  link "$want" "$lib/current"
  for path in {paths}; do link "$lib/current/bin/pergola" "$path"; done
  for old in {former}; do
    [ ! -e "$lib/$old" ] || {{ did=1; [ -n "$dry" ] || rm -rf "${{lib:?}}/$old"; }}
  done
  [ -z "$dry" ] || return 0
  for old in "$lib"/????????????????????????????????????????????????????????????????; do
    case ${{old##*/}} in
      "$want" | "$before") ;;
      *) [ ! -d "$old" ] || [ -z "$did" ] || flock --nonblock "$old" rm -rf "$old" || : ;;
    esac
  done
}}
"""
ASK = (
    COMMON
    + r"""
if [ -d "$lib/$want" ] && [ "$(digest "$lib/$want")" = "$want" ]; then
  exec 9<"$lib"; flock 9
  enforce
  if [ -n "$did" ]; then echo switched; else echo same; fi
else
  echo wanted
fi
"""
)
SEND = (
    COMMON
    + r"""
mkdir -p "$lib"; exec 9<"$lib"; flock 9
new=$(mktemp -d "$lib/.new-XXXXXX"); trap 'rm -rf "$new"' EXIT
tar --extract --gzip --no-same-owner --directory="$new"
[ "$(digest "$new")" = "$want" ] || {{ echo 'it did not arrive whole' >&2; exit 1; }}
chmod 755 "$new"
# Faster starts, whoever starts it first; by content, so that a change by hand is not passed over.
{python} -I -m compileall -q --invalidation-mode checked-hash -s "$new" -p "$lib/$want" "$new" || :
find "$new" -type f -exec sync {{}} +
rm -rf "$lib/$want"
mv -T "$new" "$lib/$want"
enforce
sync "$lib"
echo sent
"""
)
# As it lies there: that is what this run has sent, whichever is in force for others by now.
CALL = """[ -x {program} ] || exit 127
exec {program} {words}"""
CALL_ONCE = r"""set -eu; umask 077
new=$(mktemp -d); trap 'rm -rf "$new"' EXIT
tar --extract --gzip --no-same-owner --directory="$new"
{python} -I -B "$new/bin/pergola" {words} <"$new/document"
"""


def files() -> dict[str, bytes]:
    """The package's files by their names below its directory."""
    found = [path for path in HOST.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(HOST)): path.read_bytes() for path in sorted(found)}


def digest(package: dict[str, bytes]) -> str:
    """As `digest` of the scripts computes it."""
    lines = {f"./{name}": hashlib.sha256(text).hexdigest() for name, text in package.items()}
    listed = "".join(f"{lines[name]}  {name}\n" for name in sorted(lines))
    return hashlib.sha256(listed.encode()).hexdigest()


def archive(package: dict[str, bytes]) -> bytes:
    """The package for tar, always the same bytes for the same files."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for name, content in package.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def commands() -> list[str]:
    """The names by which people call it, as the package itself knows them."""
    return ["pergola", *runpy.run_path(str(HOST / "pergola/cli.py"))["ALIASES"]]


def script(text: str, want: str, dry: bool = False) -> str:
    """ASK or SEND for one version; `dry`: change nothing, say what would."""
    return text.format(
        lib=shlex.quote(LIB),
        want=want,
        dry="1" if dry else "",
        paths=shlex.join(f"{place}/{name}" for name in commands() for place in PLACES),
        former=shlex.join(FORMER),
        python=PYTHON,
    )


def call(want: str, words: Sequence[str]) -> str:
    """The script that runs one version's program; what it reads is the script's input."""
    return CALL.format(program=shlex.quote(f"{LIB}/{want}/bin/pergola"), words=shlex.join(words))


def call_once(words: Sequence[str]) -> str:
    """The same, from an archive that is the script's input and has what it reads as `document`."""
    return CALL_ONCE.format(python=PYTHON, words=shlex.join(words))
