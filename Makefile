# Two commands matter: `make demo` and `make test`. Both make their own environment in .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# What is imported is compiled then; the rest of the libraries never is.
INSTALL := install --no-compile

# What is measured is what users install: the libraries of deploy/requirements.txt alone, on the
# distribution's own interpreter where it is new enough.
BENCH_PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  2>/dev/null && echo /usr/bin/python3 || echo $(PYTHON))

.PHONY: demo test check bench coverage matrix soak generated requirements clean

demo: .venv/runtime  ## Bitbucket, forwarder and a file, all on this machine, in under a minute
	$(BIN)/python -m forwarder demo $(ARGS)

test: .venv/tests  ## everything: linters, types, arrows, every test, every interpreter found
	tests/run.sh

check: .venv/tests  ## what is quick: linters, types, arrows, unit and contract tests
	tests/run.sh quick

bench: .venv/tests .bench/venv  ## figures as JSON; see docs/performance.md
	$(BIN)/python -m tests.bench --python .bench/venv/bin/python $(ARGS)

coverage: .venv/tests  ## which lines and branches the unit and contract tests pass
	$(BIN)/python -m pytest -q -n 2 --cov --cov-report=term tests/unit tests/contract

matrix: .venv/tests  ## every fault at every place, as a table; writes docs/fault-matrix.md
	$(BIN)/python -m tests.matrix

soak: .venv/tests  ## crashes under load for a long time (figures as JSON), and thousands of drawn examples
	$(BIN)/python -m tests.soak $(ARGS)
	$(BIN)/python -m tests.failover
	$(BIN)/python -m pytest -q -n 2 --hypothesis-profile=deep tests/unit tests/contract

install:  ## as a systemd service, or an upgrade of it; as root
	deploy/systemd/install.sh

uninstall:  ## configuration, state and logs stay
	deploy/systemd/uninstall.sh

generated: .venv/tests  ## what follows from the Sigma rules: detections, Splunk's add-on, AWS' templates
	$(BIN)/python -m deploy.detections.generate
	$(BIN)/python -m deploy.splunk.generate
	$(BIN)/python -m deploy.cloudwatch.generate

requirements:  ## pin again, hashed and without the name of any index
	tests/pin.sh

.bench/venv: deploy/requirements.txt .venv/tests
	$(BENCH_PYTHON) -m venv --clear --without-pip $@
	$(PIP) --python $@/bin/python install --require-hashes -r deploy/requirements.txt
	touch $@

clean:
	rm -rf .venv .venvs .tools .bench .demo dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/runtime: .venv/bin/python deploy/requirements.txt
	$(PIP) $(INSTALL) --require-hashes -r deploy/requirements.txt
	touch $@

.venv/tests: .venv/runtime tests/requirements.txt pyproject.toml
	$(PIP) $(INSTALL) --require-hashes -r tests/requirements.txt
	$(PIP) $(INSTALL) --no-deps --no-build-isolation --editable .
	touch $@
