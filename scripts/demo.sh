#!/bin/sh
# The demo: a server on this machine, made by the same command as a real one.
# usage: demo.sh up|down
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
testhosts="python3 testhosts"
run="demo of $PWD" # two clones have two demos
on_demo() { ssh -F .demo/ssh_config demo "$@"; }

if [ "${1:-}" = down ]; then
  $testhosts down "$run"
  rm -rf .demo
  echo "==> The demo's server is gone."
  exit
fi

began=$(date +%s)
echo "==> A server: a booted test host on this machine (the first time, its image takes half a minute)"
$testhosts up --keep --into .demo "$run" demo >/dev/null

echo "==> ansible-playbook site.yml -i inventory/demo"
ansible-playbook site.yml -i inventory/demo

echo "==> Seed data: a user and a few links"
password=$(cat .demo/password 2>/dev/null || head -c 9 /dev/urandom | base64 | tr '+/' 'xy' | tee .demo/password)
echo "$password" | on_demo sudo /srv/linkboard/bin/release run linkboard create-user demo --password -
on_demo sudo /srv/linkboard/bin/release run linkboard seed --user demo
on_demo sudo cat /var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt >.demo/root.crt
address=$(on_demo hostname -I | cut -d' ' -f1)

cat <<END

  linkboard is up after $(($(date +%s) - began)) s.

  Sign in as       demo
  with password    $password

  Open             https://linkboard.localhost:8443/ after one of
    from here        ssh -N -F .demo/ssh_config -L 8443:localhost:443 demo
    from elsewhere   ssh -N -L 8443:$address:443 $(id -un)@$(hostname)
  Without browser  curl --cacert .demo/root.crt --resolve linkboard.localhost:443:$address https://linkboard.localhost/login
  Certificate      its root is .demo/root.crt: import it into the browser, or accept the warning
  The server       ssh -F .demo/ssh_config demo
  Deploy again     change sample_app/, commit, .venv/bin/ansible-playbook playbooks/deploy.yml -i inventory/demo
  Stop             make demo-down

END
