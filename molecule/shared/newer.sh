#!/bin/sh
# newer.sh PACKAGE...: a repository on the host itself, with installed packages under a higher version and from an
# origin whose updates install themselves on both systems.
set -e
mkdir -p /srv/newer.packages && cd /srv/newer.packages
. /etc/os-release
for package in "$@"; do
  apt-get download -qq "$package" && file=$(ls "${package}"_*.deb)
  dpkg-deb -R "$file" unpacked && rm "$file"
  version=$(sed -n 's/^Version: //p' unpacked/DEBIAN/control)
  sed -i "s/^Version: .*/Version: $version+pergola1/" unpacked/DEBIAN/control
  dpkg-deb --root-owner-group -Zgzip -z1 -b unpacked "./$package.deb" >/dev/null && rm -r unpacked
done
for file in *.deb; do
  dpkg-deb -f "$file"
  echo "Filename: ./$file"; echo "Size: $(stat -c %s "$file")"
  echo "SHA256: $(sha256sum "$file" | cut -d' ' -f1)"; echo
done >Packages
label=Debian-Security; [ "$ID" = debian ] || label=Ubuntu
{ echo "Origin: $(dpkg-vendor --query Vendor 2>/dev/null || echo "$ID" | sed 's/./\u&/')"
  echo "Label: $label"; echo "Suite: $VERSION_CODENAME-security"
  echo "Codename: $VERSION_CODENAME-security"; echo "SHA256:"
  echo " $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages"; } >Release
echo 'deb [trusted=yes] file:/srv/newer.packages ./' >/etc/apt/sources.list.d/newer.list
apt-get -q update
