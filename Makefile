# The commands of this repository. `make demo` shows what twokey is; `make test`
# proves it. Both install what is missing first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: all build deps debian demo test lint bench load pictures prove simulate mutate fuzz clean help

GO ?= go
# One way of compiling for what is shipped and for its tests: a new machine does
# it once. Only the race detector needs another.
export CGO_ENABLED := 0
export GOFLAGS := -trimpath
DEMO := deploy/demo
SECOND := cmd/twokey/testdata/second-idp

# Tools, pinned. A new version here is installed by the next `make deps`.
VERSITYGW   := github.com/versity/versitygw/cmd/versitygw@v1.8.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
TOOLS := $(VERSITYGW) $(STATICCHECK) $(GOVULNCHECK)

XTERM := shadow/testdata/xterm/node_modules/.package-lock.json
PLAYER := shadow/testdata/player/node_modules/.package-lock.json

# stamp names the file that says which version of a tool is in bin.
stamp = bin/.$(notdir $(1))

# RACE tests with the race detector. -short leaves out where one goroutine goes
# through a corpus: `test` runs that without. lint vets.
RACE := CGO_ENABLED=1 $(GO) test -race -short -vet=off

# Under the race detector a process needs terabytes of address space, which
# the cage does not give: what starts caged psqls is tested without. So is the
# parser, which then compiles itself for most of a minute in place of four seconds.
PLAIN := /(cmd/twokey|session/psql|session/pgwire/label)$$

all: build

help: ## this text
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## bin/twokey, one static binary
	$(GO) build -o bin/twokey ./cmd/twokey

deps: debian $(foreach t,$(TOOLS),$(call stamp,$(t))) bin/demo-idp $(XTERM) $(PLAYER) $(SECOND)/node_modules ## install what is missing: Debian packages, an S3 server, linters, two identity providers, another emulator, a player

debian:
	@$(DEMO)/deps.sh

define tool
$(call stamp,$(1)):
	@mkdir -p bin && rm -f bin/.$(firstword $(subst @, ,$(notdir $(1))))@*
	GOBIN=$$(CURDIR)/bin $$(GO) install $(1)
	@touch $$@
endef
$(foreach t,$(TOOLS),$(eval $(call tool,$(t))))

# The emulator that tests hold the screen model against, from npm.
$(XTERM): shadow/testdata/xterm/package-lock.json | debian
	cd shadow/testdata/xterm && npm ci --silent --no-audit --no-fund
	@touch $@

# The player that exported recordings are handed to, from npm.
$(PLAYER): shadow/testdata/player/package-lock.json | debian
	cd shadow/testdata/player && npm ci --silent --no-audit --no-fund --ignore-scripts
	@touch $@

# An identity provider that is not Go's, from npm.
$(SECOND)/node_modules: $(SECOND)/package.json $(SECOND)/package-lock.json | debian
	cd $(SECOND) && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

bin/demo-idp: $(wildcard $(DEMO)/idp/*) $(DEMO)/go.mod
	cd $(DEMO) && $(GO) build -o ../../bin/demo-idp ./idp

bin/demo: $(wildcard $(DEMO)/cmd/* $(DEMO)/house/*) $(DEMO)/go.mod
	cd $(DEMO) && $(GO) build -o ../../bin/demo ./cmd

demo: deps build bin/demo ## the whole story on real parts, with real ssh clients
	@bin/demo

test: deps build ## everything, on real parts
	$(RACE) $$($(GO) list ./... | grep -vE '$(PLAIN)')
	$(GO) test -vet=off ./shadow
	$(GO) test -vet=off -run 'Killed|Failpoints' ./recorder
	$(GO) test -vet=off -parallel 3 $$($(GO) list ./... | grep -E '$(PLAIN)') # they wait more than they work
	cd $(DEMO) && $(RACE) ./...

lint: deps ## gofmt, vet, staticcheck, govulncheck, the import arrows
	@bad=$$(gofmt -l .); [ -z "$$bad" ] || { echo "gofmt -w wants to change:" $$bad; exit 1; }
	$(GO) vet ./...
	cd $(DEMO) && $(GO) vet ./...
	bin/staticcheck ./...
	cd $(DEMO) && ../../bin/staticcheck ./...
	$(GO) test -count=1 -run Arrows ./cmd/twokey
	for os in darwin windows; do GOOS=$$os $(GO) build -o /dev/null ./cmd/twokey; done # what a client needs
	.ci/vulns

bench: ## side by side with OpenSSH's sshd, and with pgbouncer: tables of ratios; finding among 100,000 sessions
	@$(DEMO)/deps.sh sshd:openssh-server pgbouncer:pgbouncer tlog-rec:tlog
	@$(MAKE) --no-print-directory deps build
	cd $(DEMO) && $(GO) run ./bench
	$(GO) test -count=1 -run AnHour -v ./recorder | grep segments
	TWOKEY_SESSIONS=100000 $(GO) test -run '^$$' -bench Find -benchtime 3x -timeout 1h -v ./recorder/index

load: deps build ## a front door under attack, greedy psqls, a thousand sessions in a row, five hundred at once for ten minutes
	cd $(DEMO) && $(GO) run ./load

pictures: ## what the README shows, drawn from what the tests see
	mkdir -p deploy/pictures
	$(GO) test -count=1 -run 'Looks|PictureOf' ./shadow -pictures $(CURDIR)/deploy/pictures

prove: ## kill the recorder at every failpoint in 20 ways and at 200 random moments, and change recordings in every way
	TWOKEY_PROVE=20 $(GO) test -count=1 -timeout 2h -run 'Killed|NoMutation|EveryFlipped' -v ./recorder

simulate: ## a million stories against the model of the gate, and 100,000 storms
	TWOKEY_SIMULATE=500 $(GO) test -count=1 -timeout 2h -run Simulation -v ./session
	TWOKEY_SIMULATE=500 CGO_ENABLED=1 $(GO) test -count=1 -timeout 2h -run Storm -v -race ./session

mutate: ## break each promise on purpose; a test must notice each time
	$(GO) run .ci/mutate.go

FUZZTIME ?= 30s
fuzz: ## each fuzz target for FUZZTIME
	@grep -rHoE '^func Fuzz\w+' --include='*_test.go' . | while IFS=: read -r file func; do \
		echo "$${func#func } in $$(dirname "$$file")"; \
		$(GO) test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$(dirname "$$file")" </dev/null; \
	done

clean: ## remove what was built and what the demo left
	rm -rf bin .work
