#!/bin/sh
# A server with a blog, a message broker, a tunnel, a mail server, a shop's database and its own firewall rules.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends caddy nftables postgresql chrony >/dev/null

mkdir -p /var/www/blog
echo 'the old blog' >/var/www/blog/index.html
printf 'http://blog.example.org {\n\troot * /var/www/blog\n\tfile_server\n}\n' >/etc/caddy/Caddyfile
systemctl restart caddy

cat >/etc/nftables.conf <<'X'
flush ruleset
table inet mine {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		tcp dport 2525 redirect to :25
	}
}
X
systemctl enable --now nftables

# Answers with its own name, over TCP or UDP.
cat >/usr/local/lib/answer.py <<'X'
import socket, sys
kind, port, name = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode()
if kind == "udp":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("0.0.0.0", port))
        while True:
            s.sendto(name, s.recvfrom(99)[1])
with socket.create_server(("0.0.0.0", port)) as s:
    while True:
        with s.accept()[0] as one:
            one.sendall(name)
X
for service in 'mqtt tcp 1883' 'tunnel udp 51820' 'mail tcp 25'; do
  set -- $service
  cat >/etc/systemd/system/$1.service <<X
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/answer.py $2 $3 $1
[Install]
WantedBy=multi-user.target
X
done
systemctl daemon-reload
systemctl enable --now mqtt tunnel mail

version=$(ls /etc/postgresql)
cat >/etc/postgresql/$version/main/conf.d/shop.conf <<X
listen_addresses = '*'
max_connections = 300
X
sed -i '1i host shop shop 10.0.0.0/8 trust' /etc/postgresql/$version/main/pg_hba.conf
systemctl restart postgresql
cd / && runuser -u postgres -- psql -qc 'create role shop login' -c 'create database shop owner shop'

echo 'maxdistance 1' >/etc/chrony/conf.d/ours.conf
ln -sf /usr/share/zoneinfo/Europe/Vienna /etc/localtime
