"""Certificates by which a host and its applications are known to other hosts.

They are in /etc/pergola/certificates: for each NAME.crt and NAME.key, beside members.crt and
clients.crt, the authorities of hosts and of applications. The control node says which certificates
a host should have and which authorities it trusts. The host makes a key for each, once, and keeps
it when a certificate is renewed, so the two always fit together. What comes back signed is looked
at before anything is written. Certificates that an order does not name, such as those of other
applications, stay as they are.
"""
