# A server on this machine, for demo.sh and try.sh: the test host $name, with its files in .$name.
# shellcheck shell=sh disable=SC2034,SC2154 # sourced: `name` comes from there, and what is set here is used there
PATH=$PWD/.venv/bin:$PATH
began=$(date +%s)
run="$name of $PWD" # two clones have two of each
on_host() { ssh -F ".$name/ssh_config" "$name" "$@"; }

boot() {
  echo "==> A server: a booted test host on this machine (the first time, its image takes half a minute)"
  python3 testhosts up --keep --into ".$name" "$run" "$name" >/dev/null
}

site() {
  echo "==> ansible-playbook site.yml -i $1"
  ansible-playbook site.yml -i "$1"
}

# How to reach a site of it, whose certificate comes from its own Caddy.
addresses() {
  on_host sudo cat /var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt >".$name/root.crt"
  address=$(on_host hostname -I | cut -d' ' -f1)
  cat <<END
  Open             https://$1:8443/ after one of
    from here        ssh -N -F .$name/ssh_config -L 8443:localhost:443 $name
    from elsewhere   ssh -N -L 8443:$address:443 $(id -un)@$(hostname)
  Without browser  curl --cacert .$name/root.crt --resolve $1:443:$address https://$1$2
  Certificate      its root is .$name/root.crt: import it into the browser, or accept the warning
  The server       ssh -F .$name/ssh_config $name
END
}

remove() {
  python3 testhosts down "$run"
}
