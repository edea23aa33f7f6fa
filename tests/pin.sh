#!/bin/sh
# Pins deploy/requirements.txt and tests/requirements.txt again: hashed, for every supported Python,
# without the name of any index. Needs uv on the PATH.
set -eu
cd "$(dirname "$0")/.."
pin() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --upgrade ${3:+"$3"} "$1" --output-file "$2"; }
pin pyproject.toml deploy/requirements.txt --extra=otel
pin deploy/requirements-build.in deploy/requirements-build.txt
pin tests/requirements.in tests/requirements.txt
pin tests/requirements-tools.in tests/requirements-tools.txt
pin tests/requirements-appinspect.in tests/requirements-appinspect.txt
pin tests/requirements-helm.in tests/requirements-helm.txt --no-deps
