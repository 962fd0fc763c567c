#!/bin/sh
# A package repository as Caddy's own is: its key, and a Caddy that is newer than the distribution's.
set -eu
apt-get install --yes --quiet --no-install-recommends apt-utils gnupg >/dev/null
there=/srv/caddy-repository
suite=$there/dists/any-version
packages=main/binary-$(dpkg --print-architecture)
work=$(mktemp -d)
cd "$work"

chmod 755 . # for apt's own user, who downloads
apt-get download --quiet caddy
dpkg-deb --raw-extract caddy_*.deb package
sed -i 's/^Version: .*/&+own1/' package/DEBIAN/control
mkdir -p "$there/pool" "$suite/$packages"
dpkg-deb --build package "$there/pool/caddy.deb"

export GNUPGHOME="$work/gnupg"
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --passphrase '' --quick-gen-key caddy@example.org rsa3072 sign
gpg --armor --export >"$there/gpg.key"
gpg --list-keys --with-colons | sed -n 's/^fpr:*\([^:]*\):$/\1/p' >"$there/fingerprint"

cd "$there"
apt-ftparchive packages pool >"$suite/$packages/Packages"
cd "$suite"
apt-ftparchive -o APT::FTPArchive::Release::Suite=any-version -o APT::FTPArchive::Release::Components=main \
  release . >"$work/Release"
gpg --batch --quiet --clearsign --output InRelease "$work/Release"
rm -rf "$work"
