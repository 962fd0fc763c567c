#!/bin/sh
# Ubuntu's own file for the archive; what comes after it in lines, as on servers that were upgraded by hand. Both
# have the archive's first component only.
set -eu
format="deb [signed-by=\$(SIGNED_BY)] \$(REPO_URI) \$(RELEASE) \$(COMPONENT)"
apt-get indextargets --format "$format" 'Created-By: Packages' | sort -u | grep -e '-security ' >/etc/apt/sources.list
cd /etc/apt/sources.list.d
awk -v RS= 'NR == 1' system.sources >ubuntu.sources
rm system.sources
