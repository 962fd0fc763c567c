#!/bin/sh
# The browser for linkboard's own tests.
# usage: browser.sh path         prints the one that this machine has; exit code 1 if it has none that starts
#        browser.sh package      prints the package of this distribution that brings one; nothing if it has none
set -u

# Ubuntu's chromium-browser is a script that asks for a snap: that one is there is not enough.
path() {
  for name in chromium chromium-browser google-chrome google-chrome-stable; do
    found=$(command -v "$name") && timeout 30 "$found" --version >/dev/null 2>&1 && echo "$found" && return
  done
  return 1
}

# By what apt knows, not by the system's name: somebody may have added a repository that has it.
package() {
  LC_ALL=C apt-cache policy chromium 2>/dev/null | grep -q '^ *Candidate: [^(]' && echo chromium
  return 0
}

case ${1:-} in
  path | package) "$1" ;;
  *) echo "usage: browser.sh path|package" >&2 && exit 2 ;;
esac
