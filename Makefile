# The README's two commands. Everything they need lands in .venv and .nox, nothing global: .nox/cache holds downloads.
export XDG_CACHE_HOME := $(CURDIR)/.nox/cache
export UV_PYTHON_INSTALL_DIR := $(CURDIR)/.nox/cache/python
export NOX_SKIPPED := $(CURDIR)/.nox/skipped
PYTHON ?= python3
NOX = .venv/bin/nox

CHECKS = $(addprefix session-, tests-3.11 systems tools-tests tests-3.12 tests-3.13 tests-3.14 types docs spec drift lint)

.PHONY: help demo test check dev clean $(CHECKS)
help:
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile
	@echo 'nox -l		every check and step by itself, once make dev has run and .venv is active'
demo: .venv/ready ## 16 callers on two token servers on this machine
	$(NOX) -s demo
# three sessions at a time (tests wait, too), the longest first, each one's output in one piece; -k: what fails stops no other
test: .venv/ready ## all checks of CI, in about three minutes on two cores
	@rm -f "$$NOX_SKIPPED"
	@$(MAKE) --no-print-directory -k -j3 $(if $(filter output-sync,$(.FEATURES)),--output-sync) $(CHECKS); \
	ended=$$?; sort -u "$$NOX_SKIPPED" 2>/dev/null; exit $$ended
$(CHECKS):
	$(NOX) -s $(@:session-%=%)
check: test ## make test, and before a release the matrices, long outages, a look in a browser and the benchmark
	$(NOX) -s check contract-test gevent-test looks
	$(NOX) -s bench -- --quick
dev: .venv/ready ## .venv with all tools and the package, editable: for an editor, and for pytest without nox
	.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes \
	  $(patsubst %,-r requirements/%.txt,package lint types docs generate test release tools)
	.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable .
clean: ## all that these have made
	rm -rf .venv .nox dist sbom site docs/vendor .cache .coverage* .generated-* .hypothesis .*_cache
# pip only bootstraps uv; uv does the rest: here nox, whose sessions bring their own. pip heeds the person's index, but
# neither a PYTHONPATH, where it may find another uv, nor a "user = true", which no .venv takes
.venv/ready: requirements/nox.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit("Python 3.11 or later is needed, and $(PYTHON) is %d.%d: say make PYTHON=python3.11" % v[:2] if v < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	awk '/^[^ ]/ {of = /^uv==/} of' requirements/nox.txt > .venv/uv.txt
	.venv/bin/python -I -m pip install --quiet --no-user --disable-pip-version-check --require-hashes -r .venv/uv.txt
	.venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements/nox.txt
	touch $@
