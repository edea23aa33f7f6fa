#!/bin/bash
# Makes what takes minutes: checkers, Debians that boot, and the image, which need root. What is kept
# in the user's cache is not made again.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  exec tests/install-tools.sh
fi
tests/install-machines.sh &
machines=$!
tests/install-tools.sh
tests/image.sh localhost/soteri-forwarder:test
wait "$machines"
