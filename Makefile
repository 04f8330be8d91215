# The README's two commands. Everything they need lands in .venv and .nox, nothing global.
PYTHON ?= python3
NOX = .venv/bin/nox

.PHONY: demo test clean
demo: .venv/ready
	$(NOX) -s demo
test: .venv/ready
	$(NOX) -s drift spec lint types tests coverage
clean:
	rm -rf .venv .nox dist .coverage*
# pip only bootstraps: nox and uv, at the versions (and hashes) that the one requirements file pins.
.venv/ready: requirements-dev.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -c requirements-dev.txt $$(grep -oE "^(nox|uv)==[^ ]+" requirements-dev.txt)
	touch $@
