# Everything a developer types. `make help` lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(wildcard proto/rubicon/v1/*.proto)
BPF_SOURCES := $(wildcard bpf/*.bpf.c)
BPF_OBJECTS := $(patsubst bpf/%.bpf.c,sensor/kernel/objects/%.bpf.o,$(BPF_SOURCES))
ARCH := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
CLANG ?= clang
BPF_CFLAGS := -target bpf -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Wno-unused-parameter -D__TARGET_ARCH_$(ARCH) -Ibuild -Ibpf

.PHONY: help bpf proto
help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

bpf: $(BPF_OBJECTS) ## Compile the BPF objects

build/vmlinux.h:
	@mkdir -p build
	bpftool btf dump file /sys/kernel/btf/vmlinux format c > $@.tmp && mv $@.tmp $@

sensor/kernel/objects/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) build/vmlinux.h
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@.tmp && llvm-strip -g $@.tmp && mv $@.tmp $@

proto: ## Generate rubicon/v1 from proto/
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. --mypy_out=. --mypy_grpc_out=. $(PROTOS)
