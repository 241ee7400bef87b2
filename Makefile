# The commands of this repository. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# One profile and one folder for everything: RocksDB is compiled once.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/rangekeeper/target
# Where the programs are unpacked that tests start.
export RANGEKEEPER_TOOLS ?= $(HOME)/.cache/rangekeeper/tools
# Conformance data, if it lies beside this repository.
ifneq ($(wildcard ../shared/.),)
export RANGEKEEPER_SHARED ?= $(abspath ../shared)
endif

# What the binary says it was built of; without git, or outside of a clone, "unknown". Only the
# node's own crate is compiled anew when it changes.
ifndef RANGEKEEPER_REVISION
export RANGEKEEPER_REVISION := $(shell deploy/revision.sh)
endif

CARGO := cargo
LOCKED := --release --locked
BUILT := $(CARGO_TARGET_DIR)/release
SYSTEM := tests/system/scripts
FUZZ_SECONDS ?= 600
# Tests of processes mostly wait: one more of them at a time than there are processors.
TEST_THREADS ?= $(shell echo $$(($$(nproc) + 1)))

.PHONY: help
help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

.PHONY: prerequisites
prerequisites:
	@deploy/prerequisites.sh

.PHONY: build
build: prerequisites ## Build the node
	@[ -x $(BUILT)/rangekeeper ] || echo "The first build takes about 20 minutes on two cores."
	$(CARGO) build $(LOCKED) -p rangekeeper-node

.PHONY: run
run: build ## Build and start a node: no file, no ZooKeeper, data in ./data
	@exec $(BUILT)/rangekeeper serve --listen 127.0.0.1:9920 --data ./data

.PHONY: tools
tools:
	@$(SYSTEM)/tools.sh

.PHONY: all
all: prerequisites
	@[ -x $(BUILT)/rangekeeper ] || echo "The first build takes about 20 minutes on two cores."
	$(CARGO) build $(LOCKED) --workspace

# Whatever the tests need is compiled at once: what is built for fewer targets has other features,
# and would be compiled twice.
.PHONY: test-build
test-build: prerequisites
	@[ -x $(BUILT)/rangekeeper ] || echo "The first build takes about 20 minutes on two cores."
	$(CARGO) build $(LOCKED) --workspace --all-targets

.PHONY: test
test: test-build tools ## Run every test, the ones with real processes included, and each bench once
	RUST_BACKTRACE=$${RUST_BACKTRACE:-0} RUST_TEST_THREADS=$(TEST_THREADS) \
	  $(CARGO) test $(LOCKED) --workspace --all-targets --no-fail-fast
	$(CARGO) test $(LOCKED) --workspace --doc

.PHONY: soak
soak: test-build tools ## Run the long versions of fault, fuzz and random tests
	RANGEKEEPER_SOAK=1 RANGEKEEPER_FUZZ_SECONDS=$(FUZZ_SECONDS) PROPTEST_CASES=5000 \
	  $(CARGO) test $(LOCKED) --workspace --no-fail-fast
	$(MAKE) fuzz

.PHONY: lint
lint: prerequisites ## Check format, lints, layers and house rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	$(CARGO) test $(LOCKED) -p rangekeeper-tidy

.PHONY: docs
docs: prerequisites ## Build the documentation without a warning
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" $(CARGO) doc $(LOCKED) --workspace --no-deps

.PHONY: bench
bench: prerequisites ## Run the benches
	$(CARGO) bench --locked --profile release --workspace --bench '*'

.PHONY: demo
demo: all tools ## A real Prometheus scrapes and writes; both answer twenty queries
	@$(BUILT)/rangekeeper-demo

.PHONY: peers
peers: ## Fetch today's Prometheus and VictoriaMetrics into .peers, uninstalled
	@$(SYSTEM)/unpack.sh .peers sid prometheus promtool victoria-metrics

.PHONY: compare
compare: all ## Measure the node beside its peers, all in one run
	@[ -x .peers/root/usr/bin/victoria-metrics ] || $(MAKE) --no-print-directory peers
	@$(SYSTEM)/compare.sh $(BUILT)/rangekeeper-compare

.PHONY: fuzz
fuzz: prerequisites ## Fuzz each parser of outside bytes for FUZZ_SECONDS
	@tests/fuzz/run.sh $(FUZZ_SECONDS)
