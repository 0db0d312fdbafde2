# Everything a developer types. `make help` lists it.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(sort $(wildcard proto/rubicon/v1/*.proto))
BPF_OBJECTS := $(patsubst bpf/%.bpf.c,sensor/kernel/objects/%.bpf.o,$(wildcard bpf/*.bpf.c))
# The same without atomic fetch, for kernels before 5.12; the sensor tries which of the two its kernel takes.
BPF_OBJECTS += $(patsubst bpf/%.bpf.c,sensor/kernel/objects/no_fetch/%.bpf.o,$(wildcard bpf/*.bpf.c))
ARCH := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
CLANG ?= clang
BPF_CFLAGS := -target bpf -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Wno-unused-parameter -D__TARGET_ARCH_$(ARCH) -Ibuild -Ibpf
PYTEST_ARGS ?=
# What `make vm` boots, and runs there.
KERNEL ?= 6.1
export VM ?= .venv/bin/rubicon run -- true; .venv/bin/rubicon coverage
# The baseline of the breaking-change check: the newest tag, or the first commit while nothing is tagged.
BASELINE := $(shell git describe --tags --abbrev=0 2>/dev/null || git rev-list --max-parents=0 HEAD 2>/dev/null | tail -1)

.PHONY: help build test demo lint format generate check-generated golden soak bench vm wheel bpf proto dependencies clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

build: $(VENV)/ready bpf ## Make .venv/bin/rubicon work

demo: build ## Show a real reverse tunnel being seen, named and killed (root, under a minute)
	@deploy/dependencies.sh demo
	@$(BIN)/python examples/demo/demo.py

test: $(VENV)/ready-dev bpf ## Run every test (kernel and end-to-end tests need root)
	@deploy/dependencies.sh test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/ready-dev bpf ## Formatting, types, layers, protos
	@deploy/dependencies.sh test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	clang-format --dry-run -Werror bpf/*.c bpf/*.h
	$(BIN)/buf lint
	$(BIN)/buf breaking --against '.git#ref=$(BASELINE)'

format: $(VENV)/ready-dev ## Format Python and C
	$(BIN)/ruff check --fix -q .
	$(BIN)/ruff format -q .
	clang-format -i bpf/*.c bpf/*.h

generate: proto bpf ## Regenerate what is checked in: rubicon/v1, the record decoder, docs/cli.md, deploy/profile
	$(BIN)/python -m sensor.kernel.generate_abi
	$(BIN)/python docs/generate_cli.py
	$(BIN)/python deploy/profile/generate.py

check-generated: generate ## Fail when a generated file is not up to date
	@git diff --exit-code --stat -- rubicon/v1 sensor/kernel/abi.py sensor/kernel/enums.py docs/cli.md deploy/profile || { echo "generated files differ: run 'make generate' and commit" >&2; exit 1; }

golden: build ## Record the detectors' samples anew from real runs
	$(BIN)/python -m pytest tests/e2e/ssh tests/e2e/test_tampering.py tests/e2e/test_work_by_proxy.py \
		tests/e2e/test_pressure_samples.py --golden

soak: build ## Agents that fight back, for an hour (SOAK="--minutes 5 --seed 7"): no byte out, nobody left (root)
	@deploy/dependencies.sh test
	$(BIN)/python -m tests.soak $(SOAK)

bench: build ## Measure against the bars and write docs/performance.md (BENCH="latency start": these parts only)
	@deploy/dependencies.sh test
	$(BIN)/python -m bench $(BENCH)

vm: build ## Run a command on another of Debian's kernels, emulated (KERNEL=6.12 VM="command"; root)
	@deploy/dependencies.sh vm
	@deploy/vm/run.sh "$(KERNEL)" "$$VM"

wheel: $(VENV)/ready-dev bpf ## Build the wheel, install it into an empty environment, run an agent with it
	deploy/check_wheel.sh

bpf: $(BPF_OBJECTS) ## Compile the BPF objects

build/vmlinux.h: bpf/vmlinux.py
	@deploy/dependencies.sh build
	@$(PYTHON) bpf/vmlinux.py $@

define compile
@mkdir -p $(@D)
@$(CLANG) $(BPF_CFLAGS) -c $< -o $@.partial
@llvm-strip -g $@.partial
@mv $@.partial $@
endef

sensor/kernel/objects/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) build/vmlinux.h
	$(compile)

sensor/kernel/objects/no_fetch/%.bpf.o: BPF_CFLAGS += -DRUBICON_NO_FETCH
sensor/kernel/objects/no_fetch/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h) build/vmlinux.h
	$(compile)

proto: $(VENV)/ready-dev ## Generate rubicon/v1 from proto/
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --mypy_out=quiet:. $(PROTOS)
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python -m grpc_tools.protoc -Iproto --grpc_python_out=. --mypy_grpc_out=quiet:. \
		$(filter %_service.proto,$(PROTOS))

dependencies: ## Install the distribution's packages (root)
	@deploy/dependencies.sh test

$(VENV)/ready: pyproject.toml
	@deploy/dependencies.sh build
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "rubicon: installing Python packages"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e . 
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	@echo "rubicon: installing development packages"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean: ## Remove what was built
	rm -rf build dist $(VENV) *.egg-info sensor/kernel/objects
