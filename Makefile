# make demo       install, train the GAN on MNIST for three minutes, draw and measure it
# make test       install, check style, types, floors, and run the default tests
# make test-slow  the long suite
# make bench      measure speed on this machine, as ratios within one run
# make house      count how the source stands: rooms, floors, lengths, comments, words
# make docs       build the site of the documents into build/site
# make dist       build wheel and source archive into dist, and check them

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# One thread in each of two workers: more would fight for the cores. A file is one worker's: what its tests share, such
# as a trained run, is made once. Compiled modules are kept, whatever the environment says: tests start many
# processes, each of which would compile the package anew (.5 s).
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadfile

.PHONY: demo test test-slow bench house docs dist clean

demo: $(VENV)/core
	$(BIN)/saddle demo

test: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -n 2

test-slow: $(VENV)/dev
	-$(BIN)/python tests/browser/install.py
	$(PYTEST) -n 2 -m slow

bench: $(VENV)/core
	$(BIN)/python benchmarks/parzen.py

house: $(VENV)/core
	$(BIN)/python benchmarks/house.py

docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

dist: $(VENV)/dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

$(VENV)/core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/dev: pyproject.toml constraints.txt $(VENV)/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
