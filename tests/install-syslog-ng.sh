#!/bin/sh
# Unpack Debian's syslog-ng into the folder DEST, for the tests.
#
# As a package it conflicts with rsyslog, which the tests need too; so nothing is installed, and
# no root is needed. DEST/run starts it. Does nothing where that is there already.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 DEST" >&2; exit 2; }
mkdir -p "$1"
dest=$(cd "$1" && pwd)
[ ! -x "$dest/run" ] || exit 0

download=$(mktemp -d)
trap 'rm -rf "$download"' EXIT
cd "$download"

# With what it needs and the machine lacks; names differ between Debian's releases.
for package in syslog-ng-core libivykis0 libivykis0t64 libnet1 libnet9 libpcre3 libpcre2-8-0 \
    libwrap0 libglib2.0-0 libglib2.0-0t64 libjson-c5 libcap2 libsystemd0; do
    if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ]; then
        continue
    fi
    if apt-cache show "$package" >/dev/null 2>&1; then
        apt-get download -qq -o APT::Sandbox::User=root "$package"
    fi
done
ls syslog-ng-core_*.deb >/dev/null 2>&1 || {
    echo "$0: apt knows no syslog-ng-core: run apt-get update first" >&2
    exit 1
}
rm -rf "$dest/root"
for package in *.deb; do
    dpkg -x "$package" "$dest/root"
done

cd "$dest"
modules=$(dirname "$(find root -name libsyslogformat.so | head -n 1)")
# shellcheck disable=SC2016 # $here is for the script that is written below
libraries=$(find root -name '*.so*' ! -path "$modules/*" -exec dirname {} + | sort -u |
    sed 's|^|$here/|' | paste -s -d : -)
cat >"$dest/run.new" <<RUN
#!/bin/sh
here=\$(cd "\$(dirname "\$0")" && pwd)
export LD_LIBRARY_PATH="$libraries"
exec "\$here/root/usr/sbin/syslog-ng" --module-path "\$here/$modules" "\$@"
RUN
chmod 0755 "$dest/run.new"
"$dest/run.new" --version >/dev/null
mv "$dest/run.new" "$dest/run"
