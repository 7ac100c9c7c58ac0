# The only door: people and CI walk through the same targets. `make` alone lists them.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help run test check fmt lint golden tools

help:    ## This list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

run:     ## Build, then start everything with a simulated fleet, on loopback
	$(CARGO) run --release --locked -- demo

test: tools fmt lint ## Install what tests need if it is missing, then prove everything
	$(CARGO) test --workspace --locked

check: fmt lint test ## Everything CI runs, cheapest first

fmt:     ## Is the code formatted?
	$(CARGO) fmt --all --check

lint:    ## Does the compiler, or clippy, complain?
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

golden:  ## Rewrite the golden files; read the diff like code
	UPDATE_GOLDEN=1 $(CARGO) test --workspace --locked

tools:   ## Programs that tests run against: Debian packages, and kubectl
	@tests/tools/install-packages
	@tests/tools/fetch-kubectl
