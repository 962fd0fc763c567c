#!/bin/sh
# A server with another web server, the firewall of some clouds' images, and SSH on a port of its own.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get install -y --no-install-recommends nginx iptables >/dev/null
systemctl enable --now nginx

iptables -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
iptables -A INPUT -i lo -j ACCEPT
iptables -A INPUT -p tcp --dport 22 -j ACCEPT
iptables -A INPUT -p tcp --dport 2222 -j ACCEPT
iptables -A INPUT -j REJECT --reject-with icmp-host-prohibited

echo 'Port 2222' >/etc/ssh/sshd_config.d/port.conf
systemctl restart ssh
