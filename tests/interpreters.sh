#!/bin/bash
# Unit and contract tests on every other supported Python that this machine has; on the first of
# them with the lines and branches that they do not pass.
set -euo pipefail
cd "$(dirname "$0")/.."
main=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
coverage=(--cov --cov-report=term)
for version in 3.11 3.12 3.13; do
  [ "$version" = "$main" ] && continue
  found=
  for candidate in "$(command -v "python$version" || true)" "$HOME"/.pyenv/versions/"$version".*/bin/python /usr/local/bin/"python$version"; do
    [ -n "$candidate" ] && [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$version" ] && found=$candidate && break
  done
  if [ -z "$found" ]; then
    printf '\n== Python %s is not on this machine: left out\n' "$version"
    continue
  fi
  printf '\n== unit and contract tests on Python %s\n' "$version"
  venv=.venvs/$version
  if [ ! -e "$venv/done" ] || [ tests/requirements.txt -nt "$venv/done" ]; then
    "$found" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r tests/requirements.txt
    touch "$venv/done"
  fi
  "$venv/bin/python" -m pytest -q -n 2 -p no:cacheprovider --hypothesis-profile=brief "${coverage[@]}" tests/unit tests/contract
  coverage=()
done
