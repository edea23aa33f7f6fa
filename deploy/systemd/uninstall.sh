#!/bin/bash
# Removes what install.sh has installed. Configuration, credentials, state and logs stay:
# `uninstall.sh --purge` removes them too, and with them what is not delivered yet.
set -euo pipefail

fail() { echo "uninstall.sh: $*" >&2; exit 1; }
[ $# -eq 0 ] || [ "$*" = --purge ] || fail "takes no argument but --purge"
[ "$(id -u)" = 0 ] || fail "run it as root"

all=(soteri-forwarder-credentials.path soteri-forwarder-credentials.service soteri-forwarder.service)
systemctl --quiet disable --now "${all[@]}" 2>/dev/null || true
rm -f "${all[@]/#//etc/systemd/system/}" /usr/local/bin/soteri-forwarder
systemctl daemon-reload
systemctl --quiet reset-failed "${all[@]}" 2>/dev/null || true
rm -rf /opt/soteri-forwarder

if [ "${1-}" = --purge ]; then
  rm -rf /etc/soteri-forwarder /etc/sysusers.d/soteri-forwarder.conf
  for folder in /var/lib /var/log; do
    rm -rf "$folder/soteri-forwarder" "$folder/private/soteri-forwarder"
  done
  groupdel soteri-forwarder-config 2>/dev/null || true
  echo "soteri-forwarder is gone, with its state."
else
  echo "soteri-forwarder is gone. Kept: /etc/soteri-forwarder, /var/lib/soteri-forwarder, /var/log/soteri-forwarder."
fi
