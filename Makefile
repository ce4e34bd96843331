# Two commands: `make quickstart` and `make test`. Each makes .venv first, if it isn't there.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test lint docs setup clean

quickstart: setup
	$(BIN)/python -m experiments quickstart

test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict --follow-imports=silent tests/typed_program.py

# A static site in build/docs that needs no network: guides, results, and the API.
docs: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "open build/docs/index.html"

setup: $(VENV)/.installed

# constraints.txt pins only Python 3.11; its markers leave newer Pythons to the lower bounds.
$(VENV)/.installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV), a minute or two ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,music,molecules,gymnax,slurm]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
