#!/bin/sh
# Install what this machine lacks: a few packages of the distribution, and the Python tools into .venv.
# usage: setup.sh deploy|demo|test      says what it installs before it does; quick when nothing is missing
set -eu
cd "$(dirname "$0")/.."
purpose=${1:?usage: setup.sh deploy|demo|test}

packages="git openssh-client"
requirements=requirements.txt
case $purpose in
  demo) packages="$packages systemd-container mmdebstrap nftables iproute2 curl" ;;
  test)
    packages="$packages systemd-container mmdebstrap nftables iproute2 curl postgresql"
    requirements=requirements-dev.txt
    # Ubuntu's chromium is a snap, which root cannot run headless; its runners have Chrome.
    command -v google-chrome chromium >/dev/null || packages="$packages chromium"
    ;;
esac

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "Pergola needs Python 3.11 or newer as python3; this one is $(python3 --version)." >&2
  exit 1
}
python3 -c 'import ensurepip' 2>/dev/null || packages="$packages python3-venv"

missing=
for package in $packages; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing="$missing $package"
done
if [ -n "$missing" ]; then
  sudo=
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "==> Installing packages of this machine's distribution ($sudo apt-get):$missing"
  # shellcheck disable=SC2086 # a list of words
  { $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing; } >/dev/null
fi

# Of two stamps one is enough: what the tests need includes what a deploy needs.
stamp() { printf '%s %s' "$1" "$(cat "$1" scripts/setup.sh | sha256sum | cut -c1-16)"; }
for enough in "$requirements" requirements-dev.txt; do
  grep -qsxF "$(stamp "$enough")" .venv/pergola && exit 0
done
echo "==> Installing the pinned Python tools of $requirements into .venv"
[ -x .venv/bin/python ] || python3 -m venv .venv
sed -n '/^uv==/,/[^\\]$/p' requirements.txt >.venv/uv.txt
.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.txt
.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --requirement "$requirements"
stamp "$requirements" >.venv/pergola
