# The only door: people and CI walk through the same targets. `make` alone lists them.

CARGO ?= cargo
# More flags for `make bench` and `make bench-status`, such as `--window 20` or `--rival NAME=PATH`.
ARGS ?=
# How long `make properties` (ten if nothing is said) and `make soak` (sixty) last; the seed that the
# former starts from, none: another each time.
MINUTES ?=
SEED ?=
BENCH = $(CARGO) run --release --locked -p bench --

.DEFAULT_GOAL := help
.PHONY: help run test check properties fmt lint golden tools compiler release bench bench-modes bench-parts bench-status soak fuzz

help:    ## This list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

run: compiler ## Build, then start everything with a simulated fleet, on loopback
	$(CARGO) run --release --locked -p rollcall -- demo

# Tests wait more than they work: three at a time take two thirds of the time of two, on two cores.
test: tools fmt lint ## Install what tests need if it is missing, then prove everything
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-3} $(CARGO) test --workspace --locked

check: fmt lint test ## Everything CI runs, cheapest first

properties: tools ## All properties by chance for MINUTES (10), with real clients; SEED= repeats a run
	ROLLCALL_PROPERTY_SECONDS=$$(($(or $(MINUTES),10) * 60)) ROLLCALL_SEED=$(SEED) \
	  $(CARGO) test --locked -p rollcall --test suite -- --nocapture \
	  status::properties status::storm status::races status::crowd watch
	PROPTEST_CASES=$$(($(or $(MINUTES),10) * 2000)) \
	  $(CARGO) test --locked -p status-sink --lib -- --nocapture orders properties

fmt:     ## Is the code formatted?
	$(CARGO) fmt --all --check

lint: compiler ## Does the compiler, or clippy, complain?
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

golden:  ## Rewrite the golden files; read the diff like code
	UPDATE_GOLDEN=1 $(CARGO) test --workspace --locked

tools:   ## Programs that tests run against: Debian packages, kubectl, a collector, a Kafka broker
	@tests/tools/install-packages
	@tests/tools/fetch-kubectl
	@tests/tools/fetch-rotel
	@tests/tools/fetch-tansu

compiler:
	@tests/tools/install-packages build

release: compiler
	$(CARGO) build --release --locked -p rollcall

bench: release ## CPU and memory beside vmagent and Prometheus on the same fleet; queues (twelve minutes)
	$(BENCH) scrape $(ARGS)
	$(BENCH) queue
	$(CARGO) run --release --locked -p forwarder --example drain_rate -- 100

bench-modes: release ## The same for plain text, 2.0, status routes, churn, larger fleets, one huge page
	$(BENCH) scrape --no-gzip $(ARGS)
	$(BENCH) scrape --alone --second $(ARGS)
	$(BENCH) scrape --alone --routing configs/rollcall.yml $(ARGS)
	$(BENCH) scrape --fleet=--churn=5 $(ARGS)
	$(BENCH) scrape --alone --hosts 64 $(ARGS)
	$(BENCH) scrape --alone --hosts 1000 $(ARGS)
	$(BENCH) scrape --alone --hosts 4096 --interval 30 $(ARGS)
	$(BENCH) scrape --hosts 1 --vms 100000 --interval 15 $(ARGS)

bench-parts: ## Time and instructions of each part of a sample's way, alone (needs valgrind)
	$(CARGO) bench --locked -p bench --bench parts
	$(BENCH) instructions

bench-status: release ## The status center beside etcd and Redis
	$(CARGO) build --release --locked -p status-sink --example rates
	$(BENCH) status $(ARGS)

soak: release ## An hour of failing receivers, disks and processes; MINUTES= for less
	$(BENCH) soak --minutes $(or $(MINUTES),60)

fuzz:    ## Feed each exposition format with noise, ten minutes each (needs nightly and cargo-fuzz)
	for format in text openmetrics protobuf; do \
	  (cd scraper && cargo +nightly fuzz run $$format -- -max_total_time=600) || exit 1; \
	done
