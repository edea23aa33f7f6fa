#!/bin/bash
# image.sh TAG: builds the image on a base that Debian's own packages make, for want of a registry.
set -euo pipefail
cd "$(dirname "$0")/.."
base=localhost/python:3.13-slim-trixie
in_tests=tests/containers.sh

if ! $in_tests podman image exists $base; then
  mirror=$(awk '/^URIs:/ { print $2; exit } /^deb / { print $2; exit }' /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true)
  tar=$(mktemp)
  trap 'rm -f "$tar"' EXIT
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates,tzdata \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' trixie - "$mirror" >"$tar"
  $in_tests podman import --quiet --change 'CMD ["python3"]' \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$tar" $base
fi
# This machine's certificates, for packages may come by a proxy.
$in_tests buildah bud --quiet --pull=never --layers --isolation chroot --format docker \
  --volume /etc/ssl/certs:/etc/ssl/certs:ro ${PIP_INDEX_URL:+--build-arg "PIP_INDEX_URL=$PIP_INDEX_URL"} \
  --build-arg "BASE=$base" --tag "$1" .
# Each change of the code leaves layers behind; those of the last days may be wanted again.
$in_tests podman image prune --force --filter until=72h >/dev/null
