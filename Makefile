# What a developer or a curious stranger types. Each target sets up the checkout first (tools/setup).

PYTHON := .venv/bin/python
# Test processes at a time (they wait more than they work); JOBS=0 runs all in one process, which a debugger needs.
JOBS ?= 4
# The longest files first, so that no process is alone with one at the end.
# Further words for pytest, such as TESTS="tests/unit/cli -k help".
TESTS ?= tests/integration/workers tests/integration/operating tests/integration tests/ovirtbox tests/unit

export PYTHONPATH := tests
# Without compiled modules each of the many processes of the tests would compile the product anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo box test live live-box peers coverage guestfs monitoring mutants lint format soak bench bench-quick dist deb packages clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Debian packages, .venv and pinned Python packages (the targets below do it themselves)
	@tools/setup

demo: setup ## back up and restore a running VM on an oVirt in a box, told step by step
	@$(PYTHON) tests/demo.py

box: setup ## an oVirt in a box with sample VMs in the foreground; BOX_DIR=... keeps its files there
	@$(PYTHON) -m ovirtbox serve --dir $(or $(BOX_DIR),build/box)

test: lint ## all checks and all tests
	@$(PYTHON) -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not soak' $(TESTS)

coverage: setup ## branch coverage of the same tests, as a table and as pages in build/coverage
	@mkdir -p build/coverage
	@$(PYTHON) -m pytest -n $(JOBS) --dist loadfile -m 'not soak' -k 'not less_than_a_blink' \
		--cov --cov-report=term --cov-report=html $(TESTS)

live: setup ## acceptance on a living engine, told by LIVE_URL, LIVE_USER ... (run it without them to see all)
	@PYTHONPATH=.:tests $(PYTHON) -m live

live-box: setup ## the same against the oVirt in a box, both levels (three minutes)
	@$(PYTHON) -m pytest -s -m soak tests/integration/operating/test_live.py

peers: setup ## clients of others, fetched into build/peers, against the box: SDK examples, ovirt-img, Ansible
	@PYTHONPATH=.:tests $(PYTHON) tests/peers.py

guestfs: setup ## single files through libguestfs, with real file systems (needs guestfish)
	@$(PYTHON) -m pytest tests/guestfs

monitoring: setup ## the report in a real browser, alerts by promtool, dashboard by Grafana's schema (chromium, prometheus, npm)
	@$(PYTHON) -m pytest tests/monitoring

mutants: setup ## break the product in small ways, each of which a test must notice; ONLY=name for some
	@$(PYTHON) -m mutants $(if $(ONLY),--only $(ONLY)) --jobs $(JOBS)

lint: setup ## ruff, mypy --strict, and the laws of the house (import-linter)
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-logo
	@$(PYTHON) -m pytest tests/unit/test_house.py

format: setup ## let ruff lay out the code
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

soak: setup ## kills, random nights and fuzzers for SOAK_MINUTES (60); SOAK_SEED=n plays one again
	@$(PYTHON) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[soak]'
	@$(PYTHON) -m pytest -s -m soak --timeout 7200 tests

bench: setup ## all benchmarks against the baselines (some 45 minutes)
	@$(PYTHON) -m bench

bench-quick: setup ## the short benchmarks (under 4 minutes)
	@$(PYTHON) -m bench --quick

dist: ## source distribution and wheel, in dist/
	@tools/dist

deb: ## the Debian package for the release that this machine runs, in dist/
	@tools/deb

packages: setup ## from empty roots of Debian 12 and 13 to a restore, by docs/installing.md (root, debootstrap; half an hour)
	@command -v debootstrap >/dev/null || { echo "packages: as root: apt-get install -y debootstrap" >&2; exit 1; }
	@PYTHONPATH=.:tests $(PYTHON) tests/cleanroot.py $(RELEASES)

clean: ## remove what the targets made, .venv included
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
