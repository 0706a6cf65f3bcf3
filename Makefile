# `make demo` and `make test` each work alone on a machine with python3 and make: they build .venv first.
PYTHON ?= python3
BIN := .venv/bin
SRGAN := $(BIN)/python -m srgan_jax

.PHONY: demo test fast clean

.venv/runtime: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15) and "Python 3.11 to 3.14 is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -r requirements.txt
	$(BIN)/pip install -q --no-deps -e .
	touch $@

.venv/dev: .venv/runtime requirements-dev.txt
	$(BIN)/pip install -q -r requirements-dev.txt
	touch $@

# Trains a small SRResNet and then a small SRGAN from it, measures both on held-out photographs, enlarges one.
demo: .venv/runtime
	$(SRGAN) train --config=configs/quickstart.py --workdir=runs/quickstart
	$(SRGAN) train --config=configs/quickstart_gan.py --workdir=runs/quickstart_gan --config.init_from=runs/quickstart
	$(SRGAN) upscale -i srgan_jax/data/samples/validation/coffee.avif -o runs/demo/coffee_x4.png \
		--checkpoint runs/quickstart_gan --which latest --overwrite
	$(SRGAN) evaluate --checkpoint runs/quickstart runs/quickstart_gan --which latest \
		--json runs/demo/figures.json --picture runs/demo/comparison.png

test: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "slow or not slow"

# The fast tests alone.
fast: .venv/dev
	$(BIN)/python -m pytest

# Trainings in runs/ stay, but for those of the demo.
clean:
	rm -rf .venv runs/demo runs/quickstart runs/quickstart_gan
