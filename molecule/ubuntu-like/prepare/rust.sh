#!/bin/sh
# sudo and the core utilities as 26.04 has them: written in Rust, and the classic ones beside them by other names.
set -eu
programs=/usr/lib/cargo/bin
dpkg-divert --quiet --rename --divert /usr/bin/sudo.ws /usr/bin/sudo
dpkg-divert --quiet --rename --divert /usr/sbin/visudo.ws /usr/sbin/visudo
ln -s $programs/sudo /usr/bin/sudo
ln -s $programs/visudo /usr/sbin/visudo
dpkg -L coreutils | sed -n 's#^/usr/bin/##p' | while read -r name; do
  # 26.04 keeps these three of GNU's.
  case $name in cp | mv | rm) continue ;; esac
  [ -e "$programs/coreutils/$name" ] || continue
  dpkg-divert --quiet --no-rename --divert "/usr/bin/gnu$name" "/usr/bin/$name"
  # In one step: no program is missing at any moment.
  perl -e '
    my ($name, $new) = @ARGV;
    link "/usr/bin/$name", "/usr/bin/gnu$name";
    symlink $new, "/usr/bin/.new";
    rename "/usr/bin/.new", "/usr/bin/$name"' "$name" "$programs/coreutils/$name"
done
