# edged. `make demo` needs Go 1.26 and gcc; `make test` installs what else it needs.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

MODEL   ?= models/needle-26m-q8_0.gguf
PREFIX  ?= /usr/local
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
SDK_DIR := $(CURDIR)/build/sdk

export CGO_ENABLED := 1

.PHONY: build demo test check tools install deb deb-build deb-test deb-same clean

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
install: build ## binary, units, user and group, manual pages and completions under PREFIX
	packaging/install.sh ./edged '$(DESTDIR)' '$(PREFIX)'

# The version of the package begins with a digit. The time is that of the commit, so
# that the same commit gives the same bytes.
DEB_VERSION ?= 0~git$(shell git log -1 --format=%cd --date=format:%Y%m%d.%H%M%S).$(shell git rev-parse --short HEAD)
DEB_ARCH    ?= $(shell go env GOARCH)

# Position-independent, and bound before it runs, as Debian's other programs are. Its
# build ID is made of the version, as Go's own is of objects whose debug information,
# which is not in the program, names the folder of the source.
DEB_LDFLAGS = -s -w -linkmode=external -extldflags=-Wl,-z,relro,-z,now -buildid=$(DEB_VERSION)-$(DEB_ARCH)

deb-build: # what a package is made of
	mkdir -p build/deb
	GOARCH=$(DEB_ARCH) go build -trimpath -buildmode=pie -ldflags '$(DEB_LDFLAGS) -X main.version=$(DEB_VERSION)' -o build/deb/edged ./cmd/edged
	[ $(DEB_ARCH) = $$(go env GOHOSTARCH) ] || GOARCH= CC= go build -trimpath -o build/deb/edged-here ./cmd/edged
	[ $(DEB_ARCH) != $$(go env GOHOSTARCH) ] || cp build/deb/edged build/deb/edged-here

deb: deb-build ## a Debian package in build/; DEB_ARCH=arm64 needs CC=aarch64-linux-gnu-gcc
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) packaging/deb.sh build/deb/edged '$(DEB_VERSION)' $(DEB_ARCH) build build/deb/edged-here

deb-test: ## the package in a fresh Debian 12; needs root, mmdebstrap and lintian
	packaging/check.sh

deb-same: ## compiles the package twice in different folders, without caches: the same bytes
	packaging/same.sh

clean:
	rm -rf edged build
