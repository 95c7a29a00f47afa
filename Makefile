# sealcast: `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO      ?= go
TOOLS   := $(CURDIR)/.sealcast/bin
BIN     := bin/sealcast
FUZZTIME ?= 30s
export PATH := $(TOOLS):$(PATH)

.PHONY: help deps build demo dev test check lint race fuzz bench faults storm matrix vault e2e image clean

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-7s %s\n", $$1, $$2}'

deps: ## install what is missing (Debian or Ubuntu, as root or with sudo)
	@sh internal/deps/install.sh

build: ## build bin/sealcast
	@$(GO) build -trimpath -o $(BIN) ./cmd/sealcast

demo: deps build ## one real video to the end, on temporary servers  [INPUT=file.mp4] [KEEP=1]
	@$(BIN) demo $(if $(INPUT),-input "$(INPUT)") $(if $(filter 1,$(KEEP)),-keep)

dev: deps build ## private servers and sealcast in the foreground; writes .sealcast/dev.env
	@$(BIN) dev

test: deps lint race ## everything that CI checks: format, lint, arrows, units, real servers, browser, race, short fuzzing
	@$(MAKE) --no-print-directory fuzz FUZZTIME=300x
	@echo "make test: all passed"

lint: $(TOOLS)/golangci-lint ## format, lint and the arrows between packages
	@unformatted=$$($(TOOLS)/golangci-lint fmt --diff || true); if [ -n "$$unformatted" ]; then echo "$$unformatted"; echo "not formatted: run .sealcast/bin/golangci-lint fmt" >&2; exit 1; fi
	@$(TOOLS)/golangci-lint run ./...

$(TOOLS)/golangci-lint: internal/tools/go.mod
	@mkdir -p $(TOOLS)
	@echo "building golangci-lint (a few minutes, once)"
	@cd internal/tools && $(GO) build -o $(TOOLS)/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@

race: deps ## all tests under the race detector, and each small benchmark once
	@$(GO) test -race -timeout 40m ./...
	@$(GO) test -run '^$$' -bench . -benchtime 1x ./token ./keystore ./api

# A duration may end with a false "context deadline exceeded" up to Go 1.26
# (golang/go issue 75804); a count does not.
fuzz: deps ## every fuzz target for FUZZTIME (30s); make test has 300 inputs for each
	@grep -roE --include='*_test.go' '^func Fuzz[A-Za-z0-9]+' api cmd internal keystore pipeline token worker | sort | \
	while IFS=: read -r file func; do \
		echo "$$(dirname $$file) $${func#func }"; \
		$(GO) test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s ./$$(dirname $$file); \
	done

bench: deps build ## the main job against a bare ffmpeg command and the staged shape, in one run
	@$(GO) test -run '^$$' -bench '^Benchmark(MainJob|KeyEndpoint)$$' -benchtime 1x -timeout 60m -v ./cmd/sealcast
	@$(GO) test -run '^$$' -bench . ./token ./keystore ./api

faults: deps ## break everything that a job depends on, then print the figures of reliability  [FIGURE_ROUNDS=5]
	@$(GO) test -tags faults -run '^TestFaults' -parallel 4 -timeout 60m ./cmd/sealcast
	@$(GO) test -tags faults -run '^TestFaults' -timeout 60m ./pipeline
	@$(GO) test -tags faults -run '^TestFigures' -timeout 60m -v ./cmd/sealcast

storm: deps ## short jobs while workers, Redis and MinIO are killed  [STORM_JOBS=500] [STORM_WORKERS=4] [STORM_SECONDS=] [STORM_SEED=]
	@$(GO) test -tags faults -run '^TestStorm' -timeout 120m -v ./cmd/sealcast

matrix: ## every output in every player, and docs/players.md written from it (installs mpv, VLC and GStreamer)  [MATRIX_ONLY="in mpv"]
	@sh internal/deps/install.sh matrix
	@$(GO) test -tags matrix -parallel 5 -run '^TestMatrix$$' -timeout 60m -v ./cmd/sealcast

vault: deps $(TOOLS)/vault ## the tests of KEKs in HashiCorp Vault, against a real one (builds it: some ten minutes, once)
	@VAULT_PROGRAM=$(TOOLS)/vault $(GO) test -count=1 ./keystore/vault
	@VAULT_PROGRAM=$(TOOLS)/vault $(GO) test -count=1 -run '^TestE2EReloadKEKs$$' ./cmd/sealcast

$(TOOLS)/vault: internal/tools/vault/go.mod
	@mkdir -p $(TOOLS)
	@echo "building vault (some ten minutes, once)"
	@cd internal/tools/vault && $(GO) build -o $(TOOLS)/vault github.com/hashicorp/vault
	@touch $@

e2e: deps ## the end-to-end tests alone
	@$(GO) test -run 'E2E' -v -timeout 30m ./cmd/sealcast

image: ## build the container image (needs docker)
	docker build -f docker/Dockerfile --build-arg VERSION="$$(git describe --always --dirty)" -t sealcast .

clean: ## remove what was built and the data of make dev
	rm -rf bin .sealcast/data .sealcast/dev.env
