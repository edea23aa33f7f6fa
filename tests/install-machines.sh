#!/bin/bash
# Makes .tools/machines: the roots of two Debians with systemd, for the tests that boot them, and
# the packages that are installed in them, as they have no network. Kept in the user's cache, for
# every clone and every run. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/soteri-forwarder
python=$PWD/.venv/bin/python
mirror=$(awk '/^URIs:/ { print $2; exit } /^deb / { print $2; exit }' /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true)
mkdir -p "$cache" .tools

# root RELEASE: what boots in half a second and runs deploy/systemd/install.sh.
root() {
  local folder=$cache/machine-$1-1
  if [ ! -e "$folder/done" ]; then
    rm -rf "$folder"
    mkdir -p "$folder"
    mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,dbus,python3-venv,ca-certificates \
      --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
      --dpkgopt='path-exclude=/usr/share/locale/*' "$1" "$folder/root.tar" "$mirror"
    mkdir "$folder/root"
    tar -xf "$folder/root.tar" -C "$folder/root" --exclude=./dev
    rm "$folder/root.tar"
    mkdir -p "$folder/root/dev" "$folder/root/source" "$folder/root/wheels"
    for unit in systemd-firstboot systemd-networkd-wait-online systemd-networkd systemd-logind console-getty getty@tty1; do
      ln -sf /dev/null "$folder/root/etc/systemd/system/$unit.service"
    done
    echo uninitialized >"$folder/root/etc/machine-id"
    touch "$folder/done"
  fi
  ln -sfn "$folder/root" ".tools/machine-$1"
}

# marked TRUE FALSE: the requirements, with these comparisons of the version as good as decided.
marked() {
  sed "s/python_full_version $1/python_full_version > '3'/; s/python_full_version $2/python_full_version < '3'/" deploy/requirements.txt
}

wheels() {
  local folder
  folder=$cache/wheels-$(cat deploy/requirements.txt deploy/requirements-build.txt | sha256sum | cut -c -16)
  if [ ! -e "$folder/done" ]; then
    mkdir -p "$folder"
    local download=("$python" -m pip download --quiet --disable-pip-version-check --dest "$folder")
    # bookworm's Python, and trixie's; pip would read markers as the Python that it runs on itself
    "${download[@]}" --no-deps --python-version 3.11 --require-hashes -r <(marked "< '3.13'" ">= '3.13'") &
    "${download[@]}" --no-deps --python-version 3.13 --require-hashes -r <(marked ">= '3.13'" "< '3.13'") &
    "${download[@]}" --require-hashes -r deploy/requirements-build.txt &
    "${download[@]}" setuptools wheel &  # for what comes as a source only
    local failed=0
    for job in $(jobs -p); do wait "$job" || failed=1; done
    [ $failed = 0 ]
    touch "$folder/done"
  fi
  ln -sfn "$folder" .tools/wheels
}

(
  flock 9
  failed=0
  wheels &
  jobs=($!)
  root bookworm &
  jobs+=($!)
  root trixie &
  jobs+=($!)
  for job in "${jobs[@]}"; do wait "$job" || failed=1; done
  exit $failed
) 9>"$cache/machines.lock"
