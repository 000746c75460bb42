# edged. `make demo` needs Go 1.26 and gcc; `make test` installs what else it needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

MODEL   ?= models/needle-26m-q8_0.gguf
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
SDK_DIR := $(CURDIR)/build/sdk

export CGO_ENABLED := 1

.PHONY: build demo test check tools install clean

build: ## the one binary, ./edged
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o edged ./cmd/edged

demo: build ## start a daemon, ask about a document, check the answers, stop
	docs/demo/demo.sh ./edged $(MODEL)

# The race detector leaves out ipc/sdktest: the compiler needs 2 GB and minutes for
# openai-go, which vet and the second run share.
test: tools check ## everything
	go test -race -short -timeout 30m ./daemon/... ./ipc ./ipc/client ./infer ./infer/sample ./offload ./pinnedmem ./store/...
	EDGED_SDK_TESTS=1 EDGED_SDK_DIR='$(SDK_DIR)' go test -timeout 30m ./...

check: ## formatting and vet
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not gofmt-ed:" $$unformatted >&2; exit 1; fi
	go vet ./...

tools: ## what the tests need besides Go and gcc
	./.ci/tools '$(SDK_DIR)'

# Of PREFIX/lib/systemd/user and PREFIX/share/systemd/user, systemd looks into the
# second also when PREFIX is ~/.local.
install: build ## binary and units under PREFIX
	install -D -m 0755 edged '$(DESTDIR)$(PREFIX)/bin/edged'
	install -d '$(DESTDIR)$(PREFIX)/lib/systemd/system' '$(DESTDIR)$(PREFIX)/share/systemd/user'
	sed 's|/usr/bin/edged|$(PREFIX)/bin/edged|' systemd/edged.service >'$(DESTDIR)$(PREFIX)/lib/systemd/system/edged.service'
	sed 's|/usr/bin/env PATH=%h/.local/bin:/usr/local/bin:/usr/bin edged|$(PREFIX)/bin/edged|' systemd/user/edged.service >'$(DESTDIR)$(PREFIX)/share/systemd/user/edged.service'

clean:
	rm -rf edged build
