#!/bin/sh
# Run tests and print the seconds of each step: what most changes need, what CI runs, everything, or the steps named.
# usage: test.sh [ci|all|bench|lint|syntax|unit|sample-app|default-VERSION|releases-(dying|others)|SCENARIO ...]
# Several steps run side by side, TEST_JOBS of them (3): hosts wait more than they work. The output of
# each is printed in one piece when it ends, and why it failed, in six lines at most, once more at the very end.
set -u
cd "$(dirname "$0")/.." || exit
PATH=$PWD/.venv/bin:$PATH
export PATH
export ANSIBLE_CONFIG="$PWD/ansible.cfg"
# Where Python may not keep what it compiles, each of a thousand runs would compile it again.
unset ANSIBLE_COLLECTIONS_PATH PYTHONDONTWRITEBYTECODE

# .pre-commit-config.yaml has the same.
lint() {
  ruff check && ruff format --check && mypy && yamllint --strict . && ansible-lint --offline --strict && syntax
}

syntax() {
  for playbook in site.yml playbooks/*.yml; do
    ansible-playbook --syntax-check -i inventory/demo "$playbook" >/dev/null || return
  done
}

unit() {
  pytest -q tests testhosts/tests
}

sample_app() (
  cd sample_app || exit
  [ -x .venv/bin/python ] || uv venv --quiet .venv
  uv pip sync --quiet --python .venv --require-hashes requirements-dev.txt &&
    uv pip install --quiet --python .venv --no-deps --editable . &&
    LINKBOARD_REQUIRE_BROWSER=$(../scripts/browser.sh path >/dev/null && echo 1 || echo 0) .venv/bin/pytest -q
)

# Whether they run, as small as each can be; what they measure beside other steps says nothing.
bench() {
  benchmarks/provision --repeat 1 && benchmarks/deploy --repeat 1 &&
    benchmarks/serving --repeat 1 --seconds 1 && benchmarks/postgresql --repeat 1 --seconds 1
}

scenario() {
  molecule test --scenario-name "$1"
}

# Hosts of its own for a step that runs beside another one of the same scenario.
beside() {
  MOLECULE_EPHEMERAL_DIRECTORY=$HOME/.ansible/tmp/$1.$(pwd | cksum | cut -c 1-6)
  export MOLECULE_EPHEMERAL_DIRECTORY
}

# The six lines of a step's output that say why it failed. Of pytest those are the lines of its summary, else what
# Ansible and Molecule call fatal with the first lines of its message, else how the output ends.
reasons() {
  sed 's/\x1b\[[0-9;]*m//g; s/^ *│ *//' "$TEST_FOLDER/$1.log" | awk '
    NF { last[++lines % 6] = $0 }
    /^ *(cmd|msg|stderr|stdout): / { more = 3 }
    /^(FAILED|ERROR) .*\.py(::| - |$)/ { if (!seen[$0]++) tests[++failed] = $0 }
    /^(CRITICAL|ERROR|fatal:|\[ERROR\])/ || more-- > 0 { if (!seen[$0]++) errors[++fatal] = $0 }
    END {
      if (failed) for (i = 1; i <= 6 && i <= failed; i++) print tests[i]
      else if (fatal) for (i = 1; i <= 6 && i <= fatal; i++) print errors[i]
      else for (i = 1; i <= 6; i++) if ((lines + i) % 6 in last) print last[(lines + i) % 6]
    }' | cut -c 1-400 | sed "s/^/$1: /"
}

# The two releases of this machine's distribution: the one that hosts do not run by default, and the older one.
case "$(. /etc/os-release && echo "$ID $VERSION_ID")" in
  "ubuntu 26.04") other=24.04 older=noble ;;
  ubuntu*) other=26.04 older=noble ;;
  *) other=12 older=bookworm ;;
esac

# Run one step and add its line to the timings, and what its scenario says of itself to the summary.
step() {
  began=$(date +%s)
  case $1 in
    bench) bench ;;
    lint) lint ;;
    syntax) syntax ;;
    unit) unit ;;
    sample-app) sample_app ;;
    default-*)
      beside "$1"
      TESTHOSTS_SUITE=${1#default-} scenario default
      ;;
    # Two of its hosts run the distribution's other release.
    releases)
      TESTHOSTS_PAIR_SUITE=$other scenario releases
      ;;
    # It takes longer than any other, so two parts of it run side by side.
    releases-*)
      beside "$1"
      [ "$1" = releases-dying ] && part=test_dying || part='not test_dying'
      PYTEST_ADDOPTS="${PYTEST_ADDOPTS-} -k '$part'" TESTHOSTS_PAIR_SUITE=$other scenario releases
      ;;
    upgrade)
      UPGRADE_SUITE=$older scenario upgrade
      ;;
    *) scenario "$1" ;;
  esac
  result=$?
  [ $result = 0 ] && word=passed || word=FAILED
  printf '%6d s  %-12s %s\n' "$(($(date +%s) - began))" "$1" "$word" >>"$TEST_FOLDER/timings"
  return $result
}

if [ "${1:-}" = --step ]; then # one of several
  echo "==> $2 begins"
  SCENARIO_SUMMARY=$TEST_FOLDER/$2.summary
  export SCENARIO_SUMMARY
  step "$2" >"$TEST_FOLDER/$2.log" 2>&1
  exec flock "$TEST_FOLDER/printing" sh -c 'echo "==> $0"; cat "$1/$0.log"; grep -F "  $0 " "$1/timings"' "$2" "$TEST_FOLDER"
fi

# The long ones first.
case "${*:-quick}" in
  quick) set -- default unit sample-app lint ;;
  ci | all)
    [ "$1" = all ] && all=yes || all=
    # The hosts of `releases` run both releases of the distribution.
    set -- releases-others backup apps ${all:+machines postgresql "default-$other" upgrade brownfield bench}
    # A server of an earlier Pergola, and systems that are recreated on Debian's.
    [ "$all" ] && grep -qx 'ID=debian' /etc/os-release && set -- "$@" versions ubuntu-like next
    set -- "$@" unit releases-dying default monitoring sample-app lint
    ;;
esac

# Molecule folds its output at the width of the terminal, and there is none.
COLUMNS=${COLUMNS:-200}
TEST_FOLDER=$(mktemp -d)
export COLUMNS TEST_FOLDER
if [ $# = 1 ]; then # seen while it runs
  SCENARIO_SUMMARY=$TEST_FOLDER/$1.summary
  export SCENARIO_SUMMARY
  step "$1" 2>&1 | tee "$TEST_FOLDER/$1.log"
else
  printf '%s\n' "$@" | xargs -n 1 -P "${TEST_JOBS:-3}" "$0" --step
fi

echo "==> Seconds for each step"
cat "$TEST_FOLDER/timings"
cat "$TEST_FOLDER"/*.summary 2>/dev/null
passed=$(grep -c ' passed$' "$TEST_FOLDER/timings")
failed=$(sed -n 's/^ *[0-9]* s  \([^ ]*\) *FAILED$/\1/p' "$TEST_FOLDER/timings" | xargs)
echo "$passed passed, $(($# - passed)) failed${failed:+: $failed}"
for step in $failed; do reasons "$step"; done
rm -rf "$TEST_FOLDER"
[ "$passed" = $# ]
