#!/bin/sh
# An application of one's own on a server on this machine, with guessed settings or one's own.
# usage: try.sh up APP [SETTINGS] | down      APP: a directory or a git address; SETTINGS: a file or an inventory
set -eu
cd "$(dirname "$0")/.."
name=try
. scripts/host.sh
variables=.try/inventory/group_vars/servers

if [ "${1:-}" = down ]; then
  remove
  # Somebody may have corrected them.
  kept=
  if [ -f $variables/settings.yml ]; then
    kept=try-settings.yml
    mv $variables/settings.yml .$kept
  fi
  rm -rf .try
  echo "==> The server is gone.${kept:+ The settings are kept: make try APP=… SETTINGS=.$kept}"
  exit
fi

echo "==> The settings"
python control guess "${2:-}" --into .try ${3:+--settings "$3"}
boot
site .try/inventory

domain=$(sed -n 's/^app_domain: //p' $variables/try.yml)
addresses=$(addresses "$domain" /)
cat <<END

  ${domain%.localhost} is up after $(($(date +%s) - began)) s.

$addresses
  Its settings     $variables/settings.yml: correct what was guessed wrong
  Deploy again     .venv/bin/ansible-playbook playbooks/deploy.yml -i .try/inventory
  Take them along  make inventory DIR=../our-servers, and then fill in what still says CHANGE-ME:
                   cp $variables/settings.yml ../our-servers/group_vars/servers/
                   Values of the vault (vault_…) go into vault.yml there
  Stop             make try-down

END
