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

log=$(mktemp)
trap 'kill "${beside:-}" 2>/dev/null || true; rm -f "$log"' EXIT
# begin COMMAND: runs it beside the tests, which leave the processors idle where they wait.
begin() {
  nice "$@" >"$log" 2>&1 &
  beside=$!
}
# ended: shows what it said, and ends where it failed.
ended() {
  wait "$beside" && failed=0 || failed=$?
  beside=
  cat "$log"
  [ "$failed" -eq 0 ] || exit "$failed"
}
large=(tests/deploy tests/acceptance/test_systemd_unit.py)

say "tests on $("$bin/python" --version)"
begin tests/install-large.sh
"$bin/python" -m pytest -q -n 3 "${large[@]/#/--ignore=}" tests
ended

say "tests of what is installed"
begin tests/interpreters.sh
"$bin/python" -m pytest -q -n 2 "${large[@]}"
ended
say "all passed"
