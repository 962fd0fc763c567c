#!/bin/sh
# What cloud-init leaves on a server of Ubuntu: its user, a root that only says so, and two files for sshd.
set -eu
useradd --create-home --shell /bin/bash --comment Ubuntu --groups adm,cdrom,sudo,dip ubuntu
echo 'ubuntu ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-cloud-init-users
chmod 440 /etc/sudoers.d/90-cloud-init-users
mkdir -p -m 700 /home/ubuntu/.ssh /root/.ssh
cp ~deploy/.ssh/authorized_keys /home/ubuntu/.ssh/
chown -R ubuntu: /home/ubuntu/.ssh
{
  printf '%s' 'no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command="echo Please login as the user '
  printf '%s' 'ubuntu rather than the user root.;exit 142" '
  cat ~deploy/.ssh/authorized_keys
} >/root/.ssh/authorized_keys
cd /etc/ssh/sshd_config.d
echo 'PasswordAuthentication no' >60-cloudimg-settings.conf
# Of hosters that hand out passwords.
echo 'PasswordAuthentication yes' >50-cloud-init.conf
chmod 600 50-cloud-init.conf
