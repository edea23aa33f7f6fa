#!/bin/bash
# Installs soteri-forwarder as a systemd service, or upgrades it: run it again with a newer source.
#
#   sudo deploy/systemd/install.sh
#
# Configuration, credentials and state are never overwritten. Needs systemd 250 or newer, and Python
# 3.11 to 3.13 with venv (PYTHON=python3.12 chooses one). Packages come from where pip is told to
# take them: without a network set PIP_NO_INDEX=1 PIP_FIND_LINKS=/folder/of/wheels.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
home=/opt/soteri-forwarder
etc=/etc/soteri-forwarder
units=/etc/systemd/system
unit=soteri-forwarder.service

fail() { echo "install.sh: $*" >&2; exit 1; }
[ $# -eq 0 ] || fail "takes no arguments; see the top of this file"
[ "$(id -u)" = 0 ] || fail "run it as root"
[ -d /run/systemd/system ] || fail "systemd does not run here"
systemd=$(systemctl --version | awk 'NR == 1 { print $2 }')
[ "${systemd%%[!0-9]*}" -ge 250 ] || fail "systemd $systemd is too old: 250 is needed"
"$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null ||
  fail "$python is not Python 3.11 to 3.13 with venv (Debian: apt-get install python3-venv), or set PYTHON"

# Everything new is made beside what runs; a failure up to the last line of this block changes nothing.
umask 022
mkdir -p "$home"
release=$(mktemp -d "$home/release-XXXXXX")
build=$(mktemp -d)
trap 'rm -rf "$build"; [ -e "$release/whole" ] || rm -rf "$release"' EXIT
chmod 0755 "$release"
"$python" -m venv "$build/venv"
"$python" -m venv --without-pip "$release"
pip() { "$build/venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --require-hashes -r deploy/requirements-build.txt
pip --python "$release/bin/python" install --quiet --use-pep517 --require-hashes -r deploy/requirements.txt
mkdir "$build/source"
cp -r forwarder pyproject.toml README.md CHANGELOG.md "$build/source"
pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$build" "$build/source"
pip --python "$release/bin/python" install --quiet --no-index --no-deps "$build"/*.whl
version=$("$release/bin/soteri-forwarder" --version)
if systemctl --quiet is-active "$unit"; then
  # As the unit would: what it refuses would not start again.
  mapfile -d "" -t set < <(grep -z ^FORWARDER_ "/proc/$(systemctl show -P MainPID "$unit")/environ")
  env "${set[@]}" FORWARDER_SECRETS_DIR="$etc/credentials" "$release/bin/soteri-forwarder" check --offline >/dev/null ||
    fail "$version refuses the configuration; nothing was changed, and what ran goes on"
fi
touch "$release/whole"

install -D -m 0644 deploy/systemd/sysusers.conf /etc/sysusers.d/soteri-forwarder.conf
systemd-sysusers /etc/sysusers.d/soteri-forwarder.conf
install -d -m 0750 -g soteri-forwarder-config "$etc"
install -d -m 0700 "$etc/credentials"
[ -e "$etc/config.toml" ] ||
  install -m 0640 -g soteri-forwarder-config deploy/systemd/config.toml "$etc/config.toml"

ln -sfn "$release" "$home/.current"
mv -T "$home/.current" "$home/current"
cat >/usr/local/bin/soteri-forwarder <<'COMMAND'
#!/bin/sh
# What systemd hands to the service, root's own commands read where it lies.
credentials=/etc/soteri-forwarder/credentials
if [ -z "${FORWARDER_SECRETS_DIR-}" ] && [ -r "$credentials" ]; then
  export FORWARDER_SECRETS_DIR="$credentials"
fi
exec /opt/soteri-forwarder/current/bin/soteri-forwarder "$@"
COMMAND
chmod 0755 /usr/local/bin/soteri-forwarder
for file in "$unit" soteri-forwarder-credentials.path soteri-forwarder-credentials.service; do
  install -m 0644 "deploy/systemd/$file" "$units/$file"
done
systemctl daemon-reload
systemctl --quiet enable "$unit"
systemctl --quiet enable --now soteri-forwarder-credentials.path

if systemctl --quiet is-active "$unit"; then
  systemctl restart "$unit"
  echo "$version runs in place of the release before; its state and configuration are as they were."
else
  cat <<NEXT
$version is installed. Next:
  1. edit $etc/config.toml
  2. (umask 077; cat >$etc/credentials/sources__bitbucket__token)   # paste the token, Enter, Ctrl-D
     and one such file for each secret of a sink, such as sinks__splunk__token
  3. soteri-forwarder check
  4. systemctl start $unit; systemctl status $unit; soteri-forwarder status
NEXT
fi
# A release that was replaced goes only now: until the restart it was the one that ran.
for old in "$home"/release-*; do
  [ "$old" = "$release" ] || rm -rf "$old"
done
