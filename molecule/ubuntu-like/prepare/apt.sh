#!/bin/sh
# What Ubuntu's apt has beside Debian's: other origins for automatic updates, Pro's words in the output of others, and
# a newer version that is phased: nobody is to get it yet.
set -eu
cat >/etc/apt/apt.conf.d/50unattended-upgrades <<'END'
Unattended-Upgrade::Allowed-Origins {
	"${distro_id}:${distro_codename}";
	"${distro_id}:${distro_codename}-security";
	"${distro_id}ESMApps:${distro_codename}-apps-security";
	"${distro_id}ESM:${distro_codename}-infra-security";
};
Unattended-Upgrade::DevRelease "auto";
END
cat >/etc/apt/apt.conf.d/20apt-esm-hook.conf <<'END'
APT::Update::Post-Invoke-Stats {
  "echo 'Get more security updates through Ubuntu Pro with esm-apps enabled:'; echo '  caddy pgbackrest'";
};
END
mkdir -p /srv/phased/sample/DEBIAN
cd /srv/phased
for version in 1 2; do
  cat >sample/DEBIAN/control <<END
Package: phased-sample
Version: $version
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: An update that is phased
END
  dpkg-deb -b sample sample.deb >/dev/null
  [ $version = 2 ] || dpkg -i sample.deb >/dev/null
done
{
  dpkg-deb -f sample.deb
  echo "Filename: ./sample.deb"
  echo "Size: $(stat -c %s sample.deb)"
  echo "SHA256: $(sha256sum sample.deb | cut -d ' ' -f 1)"
  echo "Phased-Update-Percentage: 0"
} >Packages
echo 'deb [trusted=yes] file:/srv/phased ./' >/etc/apt/sources.list.d/phased.list
# In a container, as in a chroot, apt takes it for a test machine, which gets such an update at once.
echo 'APT::Get::Never-Include-Phased-Updates "true";' >/etc/apt/apt.conf.d/51phased
apt-get -qq update
