#!/bin/sh
# Run the tests, all of them or the steps named, and print the seconds of each.
# usage: test.sh [all|lint|unit|sample-app|default|default-12|releases|SCENARIO ...]
set -u
cd "$(dirname "$0")/.." || exit
PATH=$PWD/.venv/bin:$PATH
export PATH
export ANSIBLE_CONFIG="$PWD/ansible.cfg"
unset ANSIBLE_COLLECTIONS_PATH
timings=$(mktemp)
failed=

lint() {
  ruff check && ruff format --check && yamllint --strict . && ansible-lint --offline --strict &&
    for playbook in site.yml playbooks/*.yml; do
      ansible-playbook --syntax-check -i inventory/demo "$playbook" >/dev/null || return
    done
}

unit() {
  pytest -q tests molecule/shared/testhosts/tests
}

sample_app() (
  cd sample_app || exit
  [ -x .venv/bin/python ] || uv venv --quiet .venv
  uv pip sync --quiet --python .venv --require-hashes requirements-dev.txt &&
    uv pip install --quiet --python .venv --no-deps --editable . &&
    LINKBOARD_REQUIRE_BROWSER=1 .venv/bin/pytest -q
)

scenario() {
  SCENARIO_SUMMARY=$(mktemp)
  export SCENARIO_SUMMARY
  molecule test --scenario-name "$1"
  code=$?
  cat "$SCENARIO_SUMMARY" # after Molecule's own lines
  rm -f "$SCENARIO_SUMMARY"
  return $code
}

step() {
  echo "==> $1"
  began=$(date +%s)
  case $1 in
    lint) lint ;;
    unit) unit ;;
    sample-app) sample_app ;;
    default-12) TESTHOSTS_SUITE=bookworm scenario default ;;
    releases)
      # On Debian two of its hosts run the release before.
      grep -qx 'ID=debian' /etc/os-release && export TESTHOSTS_PAIR_SUITE=bookworm
      scenario releases
      ;;
    *) scenario "$1" ;;
  esac
  result=$?
  [ $result = 0 ] && word=passed || { word=FAILED; failed="$failed $1"; }
  printf '%6d s  %-12s %s\n' "$(($(date +%s) - began))" "$1" "$word" >>"$timings"
}

slow=
[ "${1:-}" = all ] && shift && slow=upgrade
if [ $# = 0 ]; then
  set -- lint unit sample-app default backup monitoring postgresql releases
  # On Debian both its releases are seen; on Ubuntu the runner's own.
  grep -qx 'ID=debian' /etc/os-release && set -- "$@" default-12 $slow
fi
for name in "$@"; do step "$name"; done

echo "==> Seconds for each step"
cat "$timings"
passed=$(grep -c passed "$timings")
rm -f "$timings"
[ -n "$failed" ] && echo "failed:$failed" >&2
echo "$passed passed, $(echo "$failed" | wc -w) failed"
[ -z "$failed" ]
