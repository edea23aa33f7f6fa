#!/bin/bash
# containers.sh COMMAND...: runs podman or buildah (or anything that calls them) with images, volumes
# and settings of the tests' own, kept in the user's cache for every clone and every run.
set -euo pipefail
kept=${XDG_CACHE_HOME:-$HOME/.cache}/soteri-forwarder/containers
running=${XDG_RUNTIME_DIR:-/run}/soteri-forwarder-tests
mkdir -p "$kept" "$running"

# write FILE: puts standard input there at once, for others may be reading it
write() { cat >"$1.$$" && mv "$1.$$" "$1"; }
write "$kept/storage.conf" <<EOT
[storage]
driver = "overlay"
graphroot = "$kept/images"
runroot = "$running/storage"
[storage.options.overlay]
skip_mount_home = "true"
EOT
# runc: crun refuses cgroups of both versions at once. Limits: root may be refused the defaults.
write "$kept/containers.conf" <<EOT
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "$running/libpod"
[containers]
netns = "host"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
EOT
export CONTAINERS_STORAGE_CONF=$kept/storage.conf CONTAINERS_CONF=$kept/containers.conf
exec "$@"
