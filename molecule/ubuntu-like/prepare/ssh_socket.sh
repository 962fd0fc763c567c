#!/bin/sh
# As Ubuntu ships it: the socket is enabled, sshd comes with the first connection.
set -eu
cat >/etc/systemd/system/ssh.socket <<'END'
[Unit]
Description=OpenBSD Secure Shell server socket
Before=sockets.target ssh.service

[Socket]
ListenStream=0.0.0.0:22
ListenStream=[::]:22
BindIPv6Only=ipv6-only
Accept=no
FreeBind=yes

[Install]
WantedBy=sockets.target
RequiredBy=ssh.service
END
systemctl daemon-reload
systemctl --quiet disable ssh.service
# Sessions that are open stay: KillMode=process.
systemctl stop ssh.service
systemctl --quiet enable --now ssh.socket
