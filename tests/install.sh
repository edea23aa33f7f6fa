#!/bin/bash
# Installs the programs that the tests run beside the package: from Debian, where this user may.
# Without the right to, says what is missing; the tests that need it are then left out and listed,
# but never in CI, where nothing may be left out.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(buildah catatonit chromium file fonts-dejavu-core liblognorm-utils mmdebstrap podman postgresql prometheus rsyslog rsyslog-gnutls rsyslog-openssl rsyslog-relp runc systemd-container)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ] && [ -x .tools/syslog-ng/usr/sbin/syslog-ng ]; then
  echo "all there"
elif command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  [ ${#missing[@]} -eq 0 ] || apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  tests/install-syslog-ng.sh .tools/syslog-ng
  echo "installed: ${missing[*]:-} syslog-ng"
else
  echo "missing and not installable here (needs root and apt-get): ${missing[*]:-} syslog-ng"
fi
