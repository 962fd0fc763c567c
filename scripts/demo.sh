#!/bin/sh
# The demo: a server on this machine, made by the same command as a real one.
# usage: demo.sh up|down
set -eu
cd "$(dirname "$0")/.."
name=demo
. scripts/host.sh

if [ "${1:-}" = down ]; then
  remove
  rm -rf .demo
  echo "==> The demo's server is gone."
  exit
fi

boot
site inventory/demo

echo "==> Seed data: a user and a few links"
password=$(cat .demo/password 2>/dev/null || head -c 9 /dev/urandom | base64 | tr '+/' 'xy' | tee .demo/password)
echo "$password" | on_host sudo /srv/linkboard/bin/release run linkboard create-user demo --password -
on_host sudo /srv/linkboard/bin/release run linkboard seed --user demo
addresses=$(addresses linkboard.localhost /login)

cat <<END

  linkboard is up after $(($(date +%s) - began)) s.

  Sign in as       demo
  with password    $password

$addresses
  Deploy again     change sample_app/, commit, .venv/bin/ansible-playbook playbooks/deploy.yml -i inventory/demo
  Stop             make demo-down

END
