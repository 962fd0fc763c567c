#!/bin/sh
# The floor: linkboard on a bare server by the commands that somebody would type who knows exactly
# what they want. Same packages, settings, release and Uvicorn line as Pergola's; no check, no
# sandbox, no firewall, no gate, no way back. Started by `provision`:
#   floor.sh cold|deploy SSH_CONFIG HOST SOURCE COMMIT SETTINGS      on the control node
# which copies itself, the release's archive and SETTINGS to the host and runs there:
#   floor.sh on-host cold|deploy RELEASE
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=/srv/linkboard

control_node() { # WHAT SSH_CONFIG HOST SOURCE COMMIT SETTINGS
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/code"
  git -C "$4" archive "$5:sample_app" | tar --extract --directory "$work/code"
  (cd "$work/code" && ./build)
  tar --create --gzip --directory "$work/code" --file "$work/release.tar.gz" .
  tar --create --directory "$here" floor.sh --directory "$6" . --directory "$work" release.tar.gz |
    ssh -F "$2" "$3" "mkdir -p floor && tar --extract --directory floor &&
      sudo sh floor/floor.sh on-host $1 $(printf %.12s "$5")"
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
  release green
  systemctl enable --quiet --now linkboard@green.socket linkboard@green.service
  # The socket queues the request until the application takes it: no need to ask twice.
  python3 -c 'import socket, sys
asking = socket.socket(socket.AF_UNIX)
asking.connect("/run/linkboard/green.sock")
asking.send(b"GET /readyz HTTP/1.0\r\nHost: linkboard.localhost\r\n\r\n")
sys.exit(b" 200 " not in asking.recv(100))'
  sed -i s/blue.sock/green.sock/ /etc/caddy/Caddyfile
  systemctl reload caddy
}

release() { # COLOUR
  new=$home/releases/$release
  mkdir -p "$new/code"
  tar --extract --gzip --no-same-owner --directory "$new/code" --file "$here/release.tar.gz"
  cat >"$new/environment" <<END
LINKBOARD_DATABASE_URL="postgresql+asyncpg:///linkboard?host=/run/postgresql"
PERGOLA_RELEASE="$release"
WEB_CONCURRENCY="2"
END
  cd "$new/code"
  PATH=/opt/uv/bin:$PATH
  uv venv --quiet --python /usr/bin/python3 "$new/venv"
  uv pip sync --quiet --python "$new/venv" --require-hashes --compile-bytecode requirements.txt
  uv pip install --quiet --python "$new/venv" --no-deps --offline --compile-bytecode .
  set -a
  . "$new/environment"
  set +a
  runuser -u linkboard -- "$new/venv/bin/linkboard" db upgrade
  "$new/venv/bin/linkboard" assets "$home/assets"
  ln -sfn "$new" "$home/slots/$1"
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
  what=$2 release=$3
  "$what"
else
  control_node "$@"
fi
