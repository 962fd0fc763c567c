#!/bin/sh
# The floor: linkboard on a bare server by the commands that somebody would type who knows exactly
# what they want. Same packages, settings, release and Uvicorn line as Pergola's; no check, no
# sandbox, no firewall, no gate, no way back. Started by `provision` and `deploy`:
#   floor.sh cold|deploy|config SSH_CONFIG HOST SOURCE COMMIT SETTINGS [PAGE_SIZE]   on the control node
# which copies itself, the release's archive and SETTINGS to the host and runs there:
#   floor.sh on-host cold|deploy|config RELEASE [PAGE_SIZE]
# PAGE_SIZE is a value of the environment. `config` makes no archive and no virtual environment: it
# is the live release with another value.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=/srv/linkboard

control_node() { # WHAT SSH_CONFIG HOST SOURCE COMMIT SETTINGS [PAGE_SIZE]
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/code" "$work/sent"
  if [ "$1" != config ]; then
    git -C "$4" archive "$5:sample_app" | tar --extract --directory "$work/code"
    (cd "$work/code" && ./build)
    tar --create --gzip --directory "$work/code" --file "$work/sent/release.tar.gz" .
  fi
  tar --create --directory "$here" floor.sh --directory "$6" . --directory "$work/sent" . |
    ssh -F "$2" "$3" "mkdir -p floor && tar --extract --directory floor &&
      sudo sh floor/floor.sh on-host $1 $(printf %.12s "$5")${7:+-$7 $7}"
}

cold() {
  . "$here/settings.sh" # packages, postgresql
  # What the PostgreSQL package reads when it makes and starts the cluster: no restart is needed.
  install -D --mode=0644 "$here/createcluster.conf" /etc/postgresql-common/createcluster.d/floor.conf
  # shellcheck disable=SC2154
  install -D --mode=0644 "$here/postgresql.conf" "/etc/postgresql/$postgresql/main/conf.d/floor.conf"
  # As site.yml: only lists older than a day are fetched again.
  [ -z "$(find /var/lib/apt/lists -maxdepth 0 -mmin +1440)" ] || apt-get update -qq
  # shellcheck disable=SC2154,SC2086 # a list of words
  DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $packages

  python3 -m venv --without-pip /opt/uv
  /opt/uv/bin/python "$(echo /usr/share/python-wheels/pip-*.whl)/pip" install --quiet --require-hashes --only-binary :all: --no-deps \
    --disable-pip-version-check --requirement "$here/uv.txt"

  useradd --system --home-dir /var/lib/linkboard --shell /usr/sbin/nologin linkboard
  install --directory --owner=linkboard /var/lib/linkboard
  (cd / && runuser -u postgres -- createuser linkboard &&
    runuser -u postgres -- createdb --owner=linkboard linkboard)

  units
  caddyfile
  mkdir -p "$home/slots" "$home/assets"
  release blue
  systemctl daemon-reload
  systemctl enable --quiet --now linkboard@blue.socket linkboard@blue.service
  systemctl reload caddy
}

deploy() {
  turn
  release "$new"
  take_over
}

config() {
  turn
  there=$home/releases/$release
  mkdir -p "$there"
  for part in code venv; do
    ln -sfn "$(readlink -f "$home/slots/$old/$part")" "$there/$part"
  done
  environment
  ln -sfn "$there" "$home/slots/$new"
  take_over
}

turn() { # which colour serves, and which is to
  old=blue new=green
  grep -q blue.sock /etc/caddy/Caddyfile || { old=green new=blue; }
}

take_over() {
  systemctl enable --quiet --now "linkboard@$new.socket" "linkboard@$new.service"
  # The socket queues the request until the application takes it: no need to ask twice.
  python3 -c 'import socket, sys
asking = socket.socket(socket.AF_UNIX)
asking.connect("/run/linkboard/" + sys.argv[1] + ".sock")
asking.send(b"GET /readyz HTTP/1.0\r\nHost: linkboard.localhost\r\n\r\n")
sys.exit(b" 200 " not in asking.recv(100))' "$new"
  sed -i "s/$old.sock/$new.sock/" /etc/caddy/Caddyfile
  systemctl reload caddy
  # From here on the new release answers: the rest is not measured.
  systemctl disable --quiet "linkboard@$old.socket" "linkboard@$old.service"
  systemctl stop --no-block "linkboard@$old.socket" "linkboard@$old.service"
}

release() { # COLOUR
  there=$home/releases/$release
  mkdir -p "$there/code"
  tar --extract --gzip --no-same-owner --directory "$there/code" --file "$here/release.tar.gz"
  environment
  cd "$there/code"
  PATH=/opt/uv/bin:$PATH
  uv venv --quiet --python /usr/bin/python3 "$there/venv"
  uv pip sync --quiet --python "$there/venv" --require-hashes --compile-bytecode requirements.txt
  uv pip install --quiet --python "$there/venv" --no-deps --offline --compile-bytecode .
  set -a
  . "$there/environment"
  set +a
  runuser -u linkboard -- "$there/venv/bin/linkboard" db upgrade
  "$there/venv/bin/linkboard" assets "$home/assets"
  ln -sfn "$there" "$home/slots/$1"
}

environment() {
  cat >"$there/environment" <<END
LINKBOARD_DATABASE_URL="postgresql+asyncpg:///linkboard"
PERGOLA_RELEASE="$release"
WEB_CONCURRENCY="2"
${page_size:+LINKBOARD_PAGE_SIZE="$page_size"}
END
}

units() {
  cat >/etc/systemd/system/linkboard@.socket <<'END'
[Socket]
ListenStream=/run/linkboard/%i.sock
SocketGroup=caddy
SocketMode=0660
[Install]
WantedBy=sockets.target
END
  cat >/etc/systemd/system/linkboard@.service <<'END'
[Unit]
Requires=linkboard@%i.socket
After=linkboard@%i.socket network.target postgresql.service
[Service]
Type=exec
User=linkboard
WorkingDirectory=/srv/linkboard/slots/%i/code
Environment=PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
EnvironmentFile=/srv/linkboard/slots/%i/environment
ExecStart=/srv/linkboard/slots/%i/venv/bin/python -m uvicorn linkboard.main:app --fd 3 --proxy-headers --forwarded-allow-ips=* --no-server-header --no-access-log --timeout-keep-alive 75 --timeout-graceful-shutdown 20
Restart=always
[Install]
WantedBy=multi-user.target
END
}

caddyfile() {
  cat >/etc/caddy/Caddyfile <<'END'
{
	skip_install_trust
}
linkboard.localhost {
	tls internal
	encode zstd gzip
	handle_path /static/* {
		root * /srv/linkboard/assets
		file_server
	}
	reverse_proxy unix//run/linkboard/blue.sock
}
END
}

if [ "${1:-}" = on-host ]; then
  # Proxies, which sudo does not let through.
  set -a
  . /etc/environment
  set +a
  what=$2 release=$3 page_size=${4:-}
  "$what"
else
  control_node "$@"
fi
