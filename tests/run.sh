#!/bin/bash
# All checks and tests. `quick`: without real receivers, crashes and other interpreters.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
unset PYTHONDONTWRITEBYTECODE # hundreds of processes start: each would compile all again
say() { printf '\n== %s\n' "$*"; }

say "ruff"
"$bin/ruff" check .
"$bin/ruff" format --check .
say "mypy"
"$bin/mypy"
say "import-linter"
"$bin/lint-imports" --no-logo 2>/dev/null || "$bin/lint-imports"

if [ "${1:-}" = quick ]; then
  say "unit and contract tests"
  exec "$bin/python" -m pytest -q -n 2 tests/unit tests/contract
fi

say "programs that the tests run"
tests/install.sh

# The other interpreters get what the many waits of the real receivers leave of the processors.
log=$(mktemp)
trap 'kill "$others" 2>/dev/null || true; rm -f "$log"' EXIT
nice tests/interpreters.sh >"$log" 2>&1 &
others=$!

say "tests on $("$bin/python" --version)"
"$bin/python" -m pytest -q -n 3

wait "$others" && passed=0 || passed=$?
cat "$log"
[ "$passed" -eq 0 ] || exit "$passed"
say "all passed"
