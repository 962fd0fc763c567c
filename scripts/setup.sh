#!/bin/sh
# Install what this machine lacks: a few packages of the distribution, and the Python tools into .venv.
# usage: setup.sh deploy|demo|test      says what it installs before it does; quick when nothing is missing
set -eu
cd "$(dirname "$0")/.."
fail() {
  printf 'setup.sh: %s\n' "$*" >&2
  exit 1
}
purpose=${1:?usage: setup.sh deploy|demo|test}

packages="git openssh-client"
requirements=requirements.txt
case $purpose in
  demo) packages="$packages systemd-container mmdebstrap nftables iproute2 curl" ;;
  test)
    packages="$packages systemd-container mmdebstrap nftables iproute2 curl postgresql restic"
    requirements=requirements-dev.txt
    ;;
esac

command -v dpkg-query >/dev/null || fail "this is not Debian or Ubuntu ($(uname -s)). To deploy from here, install git, \
OpenSSH and Python 3.11 or newer, then: python3 -m venv .venv && .venv/bin/pip install --require-hashes -r requirements.txt
The demo and the tests boot servers on this machine: run them on Debian 12 or newer or Ubuntu 24.04 or newer, in a virtual \
machine for example."
command -v python3 >/dev/null && python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  fail "Pergola needs Python 3.11 or newer as python3; this one is $(python3 --version 2>&1)."
python3 -c 'import ensurepip' 2>/dev/null || packages="$packages python3-venv"

# apt waits for dpkg's lock by itself, not for that of its lists, which the system's own run of each day takes.
refresh() {
  tries=100
  while ! said=$($sudo env LC_ALL=C apt-get update -qq 2>&1); do
    case $said in *"Could not get lock"* | *"Unable to lock directory"*) ;; *) tries=0 ;; esac
    [ $tries -gt 0 ] || { printf '%s\n' "$said" >&2 && return 1; }
    [ $tries -lt 100 ] || echo "    another program holds apt's lock: waiting for it, for 5 minutes at most"
    tries=$((tries - 1))
    sleep 3
  done
}

sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

# What the distribution does not have is not demanded: Ubuntu's chromium is a snap, which root cannot run headless.
if [ "$purpose" = test ] && ! scripts/browser.sh path >/dev/null; then
  # apt knows nothing before its first update.
  apt-cache policy | grep -q 'release .*o=' || refresh || fail "apt-get update failed; what it says is above."
  browser=$(scripts/browser.sh package)
  packages="$packages $browser"
  [ -n "$browser" ] || echo "==> No browser here, and no package of one: linkboard's browser tests are left out.
    To run them too, install Chrome (its maker's .deb) or another Chromium that is no snap."
fi

missing=
for package in $packages; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
if [ -n "$missing" ]; then
  [ -z "$sudo" ] || command -v sudo >/dev/null || fail "packages are missing and there is no sudo: run as root
  apt-get update && apt-get install --no-install-recommends$missing"
  echo "==> Installing packages of this machine's distribution ($sudo apt-get):$missing"
  [ -z "$sudo" ] || echo "    (sudo may ask for your password)"
  refresh || fail "apt-get update failed; what it says is above. Nothing was installed."
  # shellcheck disable=SC2086 # a list of words
  $sudo env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -o DPkg::Lock::Timeout=300 \
    install -y -qq --no-install-recommends $missing >/dev/null ||
    fail "apt-get could not install:$missing; what it says is above."
fi

# Of two stamps one is enough: what the tests need includes what a deploy needs.
stamp() { printf '%s %s' "$1" "$(cat "$1" scripts/setup.sh | sha256sum | cut -c1-16)"; }
for enough in "$requirements" requirements-dev.txt; do
  grep -qsxF "$(stamp "$enough")" .venv/pergola && exit 0
done
echo "==> Installing the pinned Python tools of $requirements into .venv"
[ -x .venv/bin/python ] || python3 -m venv .venv
sed -n '/^uv==/,/[^\\]$/p' requirements.txt >.venv/uv.txt
# A company's own authority is among those that the system trusts: pip and uv bring lists of their own.
bundle=/etc/ssl/certs/ca-certificates.crt
if [ -r $bundle ]; then
  export PIP_CERT="${PIP_CERT:-$bundle}" SSL_CERT_FILE="${SSL_CERT_FILE:-$bundle}" UV_SYSTEM_CERTS=1
fi
.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --requirement "$requirements"
# What each run imports is compiled here, as a run may not write there, or be told not to. Not by uv: it would compile
# the collections too, which are 15,000 of 19,000 files, and of which a run reads a few.
for part in ansible jinja2 markupsafe packaging resolvelib yaml; do
  .venv/bin/python -m compileall -q .venv/lib/python3*/site-packages/$part >/dev/null || :
done
ln -sf ../../control/bin/pergola .venv/bin/pergola
stamp "$requirements" >.venv/pergola
