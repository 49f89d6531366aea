# Two commands do all the set-up themselves: `make run` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

SGLANG := .venv-sglang

.PHONY: run test test-sglang full full-again check bench bench-policy clean

$(STAMP): pyproject.toml constraints-cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-cpu.txt -e '.[drive,sim,robot,serve]'
	touch $@

$(VENV)/.installed-dev: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints-cpu.txt -e '.[drive,sim,robot,serve,dev]'
	touch $@

run: $(STAMP)  ## the main job: plan a demo scene with every strategy, print one table, draw one picture
	$(BIN)/edge plan --scene demo --strategy all --out out

check: $(VENV)/.installed-dev  ## lint, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: check  ## the everyday suite
	EDGE_CASES=small $(BIN)/pytest

full: check  ## the counts the issues name; stopped, it goes on with the files not yet done (`make full-again` starts over)
	mkdir -p out && touch out/full.done
	@for f in $$(find tests -name 'test_*.py' | sort); do \
	  grep -qxF "$$f" out/full.done && continue; \
	  EDGE_CASES=full $(BIN)/pytest "$$f" 2>&1 | tee -a out/full.log; \
	  test $${PIPESTATUS[0]} -eq 0 || exit 1; \
	  echo "$$f" >> out/full.done; \
	done
	grep -qxF test-sglang out/full.done || (EDGE_CASES=full $(MAKE) test-sglang && echo test-sglang >> out/full.done)

$(SGLANG)/.installed: pyproject.toml $(wildcard deploy/sglang_cpu/*.txt) deploy/sglang_cpu/install.sh $(shell find deploy/sglang_cpu/shims -type f -not -name '*.pyc')
	PYTHON=$(PYTHON) deploy/sglang_cpu/install.sh $(SGLANG)
	touch $@

test-sglang: $(SGLANG)/.installed  ## against real SGLang servers on this CPU; EDGE_CASES=full for the counts the issues name
	OMP_NUM_THREADS=1 $(SGLANG)/bin/python -m pytest tests/serving/sglang

.venv-openpi/.installed: deploy/openpi/requirements.txt  ## a stock openpi client, which wants a NumPy of its own; its tests are skipped without
	$(PYTHON) -m venv .venv-openpi
	.venv-openpi/bin/python -m pip install --quiet --disable-pip-version-check -r deploy/openpi/requirements.txt
	touch $@

ROSLIB := tests/robotics/action/js/node_modules/.installed
$(ROSLIB): tests/robotics/action/js/package.json  ## a stock rosbridge client of web pages, for Node; its test is skipped without
	cd $(dir $<) && npm install --no-package-lock --silent --no-fund --no-audit
	touch $@

full-again:
	rm -f out/full.done
	$(MAKE) full

bench: $(STAMP)
	$(BIN)/edge bench plan --split val --json out/bench-plan.json

bench-policy: $(STAMP)  ## caches and samplers of the shipped policies, 50 episodes of each task; stopped, it goes on where it was
	$(BIN)/edge bench policy --out out/bench-policy --json out/bench-policy/policy.json
	$(BIN)/edge bench policy --model edge/zoo/nano-vla --out out/bench-vla --json out/bench-vla/policy.json

clean:
	rm -rf $(VENV) $(SGLANG) out
