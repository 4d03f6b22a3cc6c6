# Everything runs in .venv, made on first use from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-slow astra test-deepinv lint weights bench bench-gpu clean

# torch comes first, in the constrained version: what comes after it finds it installed and pulls no
# other build.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(STAMP)
	$(BIN)/python reconstruct.py

test: $(STAMP)
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

# ASTRA, so that `make test` does not skip its tests. In no other extra: it is GPLv3, and brings CUDA's
# libraries, some 400 MB, though its CPU kernels do without a GPU.
astra: $(VENV)/.astra

$(VENV)/.astra: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[astra]'
	$(BIN)/python -c 'import astra'
	touch $@

# deepinv needs torchvision, which PyTorch's CPU builds are without here: an environment of its own,
# with the default build of torch, whose CUDA libraries are some gigabytes.
DEEPINV := .venv-deepinv
$(DEEPINV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEEPINV)
	$(DEEPINV)/bin/python -m pip install --quiet --constraint constraints.txt torch torchvision
	$(DEEPINV)/bin/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[dev,deepinv]'
	touch $@

test-deepinv: $(DEEPINV)/.installed
	$(DEEPINV)/bin/python -m pytest -m deepinv

# Writes docs/benchmarks.md. THREADS=2 measures two threads, in wall time, beside what is there.
THREADS ?= 1
$(VENV)/.bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py run --threads $(THREADS)
	$(BIN)/python benchmarks/bench.py table

# Needs a CUDA device and a build of PyTorch for it; stops where there is none.
bench-gpu: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py run --device cuda
	$(BIN)/python benchmarks/bench.py table

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

# A prior of ELLIPSES phantoms: a score first, then an energy from its weights, which is
# then refined. Each phase goes on from its last checkpoint when given again. TRAIN holds
# further settings of all; on two CPU cores say
# TRAIN="trainer.devices=2 trainer.strategy=ddp optimizer.batch_size=4" with OMP_NUM_THREADS=1.
TRAIN ?=
weights: $(STAMP)
	$(BIN)/python train.py --config configs/train/ellipses_score.yaml $(TRAIN)
	$(BIN)/python train.py --config configs/train/ellipses_energy.yaml \
		init=runs/ellipses-score/prior.safetensors $(TRAIN)
	$(BIN)/python train.py --config configs/train/ellipses_energy_refine.yaml \
		init=runs/ellipses-energy/prior.safetensors $(TRAIN)
	$(BIN)/python -c "from gnclightning import from_pretrained, save_pretrained; \
		save_pretrained(*from_pretrained('runs/ellipses-energy-refine'), \
		'gnclightning/weights/ellipses-128', license='mit')"

clean:
	rm -rf $(VENV) $(DEEPINV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
