# Each target is one Python program in tools/, for machines without make: `python tools/book.py`.
PYTHON ?= python3
.DEFAULT_GOAL := help

help:          ## this list
	@$(PYTHON) -c "import re; [print(f'  make {t:<12}{d}') for t, d in re.findall(r'^([a-z-]+):.*?## (.*)', open('Makefile').read(), re.M)]"
book:          ## compile the book: export, execute, render into _book/
	@$(PYTHON) tools/book.py
test:          ## everything that must hold: export, lints, every cell, pytest, links
	@$(PYTHON) tools/test.py
test-slow:     ## the tests that take minutes or make big environments
	@$(PYTHON) tools/test.py --slow
serve:         ## build, serve on this machine, rebuild what changes on save   [PORT=8000]
	@$(PYTHON) tools/serve.py $(if $(PORT),--port $(PORT))
chapter:       ## begin a chapter: make chapter N=38 NAME=mychapter [TITLE="My chapter"] [PART="Training"]
	@$(PYTHON) tools/chapter.py "$(N)" "$(NAME)" $(if $(TITLE),--title "$(TITLE)") $(if $(PART),--part "$(PART)")
export:        ## write the package from the notebooks
	@$(PYTHON) tools/export.py
check:         ## lints, and is the package in step with the notebooks? (seconds; changes nothing)
	@$(PYTHON) tools/check.py
clean:         ## delete what was built (ALL=1: the environment too)
	@$(PYTHON) tools/clean.py $(if $(ALL),--all)
quarto:        ## install Quarto, which then renders the published pages (optional)
	@$(PYTHON) tools/quarto.py --install
hooks:         ## install git hooks and the notebook merge driver for this clone
	@$(PYTHON) tools/hooks.py
constraints:   ## resolve the pinned set anew
	@$(PYTHON) tools/constraints.py

.PHONY: help book test test-slow serve chapter export check clean quarto hooks constraints
