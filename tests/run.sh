#!/bin/bash
# All checks and tests. `quick`: without real receivers, crashes and other interpreters.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
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

say "tests on $("$bin/python" --version)"
"$bin/python" -m pytest -n 2 --cov --cov-report=term

tests/interpreters.sh
say "all passed"
