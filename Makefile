# The README's two commands. Everything they need lands in .venv and .nox, nothing global: .nox/cache holds downloads.
export XDG_CACHE_HOME := $(CURDIR)/.nox/cache
export NOX_SKIPPED := $(CURDIR)/.nox/skipped
PYTHON ?= python3
NOX = .venv/bin/nox

CHECKS = $(addprefix session-, tests-3.11 tools-tests tests-3.12 tests-3.13 tests-3.14 types docs spec drift lint)

.PHONY: demo test check clean $(CHECKS)
demo: .venv/ready
	$(NOX) -s demo
# two sessions at a time, the longest first, each one's output in one piece; -k: what fails stops no other
test: .venv/ready
	@rm -f $(NOX_SKIPPED)
	@$(MAKE) --no-print-directory -k -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync) $(CHECKS); \
	ended=$$?; sort -u $(NOX_SKIPPED) 2>/dev/null; exit $$ended
$(CHECKS):
	$(NOX) -s $(@:session-%=%)
check: test
	$(NOX) -s check looks
	$(NOX) -s bench -- --quick
clean:
	rm -rf .venv .nox dist sbom site docs/vendor .cache .coverage*
# pip only bootstraps uv, with the hashes of the one requirements file; uv does the rest: here nox, whose sessions bring
# their own.
.venv/ready: requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit("Python 3.11 or later is needed, and $(PYTHON) is %d.%d: say make PYTHON=python3.11" % v[:2] if v < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	awk '/^[^ ]/ {of = /^uv==/} of' requirements-dev.txt > .venv/uv.txt
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	.venv/bin/uv pip install --quiet --python .venv/bin/python --constraint requirements-dev.txt 'nox[uv]'
	touch $@
