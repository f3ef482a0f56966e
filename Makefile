# Every task of the project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

export PYTHON
# Compiled modules are kept, whatever the environment says: each of the hundreds of processes that tests start would compile all it imports.
unexport PYTHONDONTWRITEBYTECODE
RUN_LOCKS := requirements/embedded.txt requirements/build.txt
DEV_LOCKS := requirements/dev.txt requirements/build.txt
DEMO := .venv-demo
DEV := .venv
POLICY := .venv-policy
MLFLOW := .venv-mlflow
MLFLOW_LOCKS := requirements/mlflow.txt requirements/build.txt
BENTO := .venv-bento
BENTO_LOCKS := requirements/bento.txt requirements/build.txt
VLLM := .venv-vllm
PYTEST = $(DEV)/bin/pytest -n auto --dist loadgroup
SERVER_TESTS := tests/servers tests/contracts tests/crash tests/behaviour tests/e2e/test_bulk.py tests/e2e/test_poison.py tests/charts/test_setup_scripts.py
POLICY_LOCKS := requirements/policy.txt requirements/build.txt
UV_COMPILE = $(DEV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock"
# Runs $(2) as a step named $(1) and says how long it took.
step = @started=$$SECONDS; echo "== $(1)"; $(2); echo "== $(1): $$((SECONDS - started)) s"

.PHONY: help demo up test test-all test-fast test-charts charts-golden why test-crash test-servers lint ruff format-check typecheck imports dependencies format bench bench-core bench-history bench-kubernetes bench-servers bench-models readme-figures lock kind-up kind-down env-demo env-dev env-policy env-mlflow env-bento clean images sbom check-tag publish-charts test-cluster test-vllm env-vllm

help: ## list the tasks
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## first look: set up, ingest two versions of a handbook, ask, and travel in time
	@started=$$SECONDS; $(MAKE) env-demo; $(DEMO)/bin/ragstone demo --examples examples/handbook; echo "make demo took $$((SECONDS - started)) s"

up: env-demo ## run ragstone here (API, worker, docs page) on 127.0.0.1
	@exec $(DEMO)/bin/ragstone up

test: ## everything that has to hold: lint, types, contracts, tests (COVERAGE=1: with coverage, of which there has to be enough; takes longer)
	@started=$$SECONDS; $(MAKE) env-dev env-policy; ready=$$SECONDS; $(MAKE) --keep-going lint test-all; \
	echo "make test took $$((SECONDS - ready)) s, after $$((ready - started)) s of set-up"

test-all: env-dev env-policy
	$(call step,pytest,$(PYTEST) --durations=10 $(if $(COVERAGE),--cov --cov-report=term))

test-fast: env-dev ## the unit and contract tests alone
	$(call step,pytest (unit and contracts),$(PYTEST) -q tests/unit tests/contracts)

test-charts: env-dev env-policy ## the charts without a cluster: real Helm, golden renders, schemas, policies, edges
	$(call step,chart tests,$(PYTEST) -q tests/charts)

charts-golden: env-dev ## write the charts' kept renders anew, after a change that is meant
	@$(DEV)/bin/python -m tests.charts golden

why: ## say what keeps a namespace from being ready, and what to do (NAMESPACE=ragstone)
	@python3 scripts/why_not_ready.py $(or $(NAMESPACE),ragstone)

test-crash: env-dev ## the whole crash matrix, 200 random kills (SEED=n repeats one script, KILLS=n) and late writers; about 12 minutes on 2 cores
	$(call step,crash tests,PYTHONPATH=src OPENBLAS_NUM_THREADS=1 $(DEV)/bin/python -m tests.crash --kills $(or $(KILLS),200) $(if $(SEED),--seed $(SEED)))

test-servers: env-dev env-mlflow env-bento ## what needs other servers (NATS, MongoDB, MLflow, and lakeFS and Qdrant where they are on PATH or RAGSTONE_TEST_<NAME>_URL says where), or minutes
	$(call step,tests with servers,$(DEV)/bin/pytest -q -n 2 --dist loadgroup -m "servers or packaged or long" $(SERVER_TESTS))

test-vllm: env-dev env-bento env-vllm ## real answers of vLLM on this CPU through the generation service (6 GB, ten minutes the first time)
	$(call step,tests with vLLM,$(DEV)/bin/pytest -q -m servers tests/vllm)

test-cluster: env-dev ## real pods: kind where Docker pulls images, else a local cluster of real components (root, Debian, Go); RAGSTONE_CLUSTER=local|kind|context chooses
	$(call step,cluster tests,$(DEV)/bin/python -m tests.cluster test)

lint: ruff format-check typecheck imports dependencies ## ruff, format, mypy --strict, import contracts, dependencies

ruff: env-dev
	$(call step,ruff,$(DEV)/bin/ruff check --output-format concise .)

format-check: env-dev
	$(call step,ruff format,$(DEV)/bin/ruff format --check .)

typecheck: env-dev ## mypy --strict alone
	$(call step,mypy,$(DEV)/bin/mypy $(wildcard src tests bench scripts images))

imports: env-dev
	$(call step,import-linter,$(DEV)/bin/lint-imports --no-logo)

dependencies: env-dev
	$(call step,deptry,$(DEV)/bin/deptry --no-ansi src)

format: env-dev ## format the code and fix what ruff can fix
	@$(DEV)/bin/ruff check --fix . ; $(DEV)/bin/ruff format .

bench: bench-core bench-history bench-kubernetes bench-servers bench-models ## every group of benchmarks (needs RAGSTONE_BENCH_DATA)

bench-core: env-dev ## the core's figures into bench/results/core.json; fails when one falls short
	@$(DEV)/bin/python -m bench.core

bench-history: env-dev ## crashes, damage, replay and erasure into bench/results/history.json; fails when one falls short
	@$(DEV)/bin/python -m bench.history

bench-kubernetes: env-dev env-policy ## charts, cluster tests warm and cold (an hour; root, Debian, Go) into bench/results/kubernetes.json; fails when one falls short
	@$(DEV)/bin/python -m bench.kubernetes $(GROUPS)

bench-servers: env-dev env-mlflow ## many processes and real servers into bench/results/servers.json; fails when a row falls short, and says which were skipped
	@$(DEV)/bin/python -m bench.servers $(GROUPS)

bench-models: env-dev env-bento env-mlflow ## the model services into bench/results/models.json; fails when a row falls short, and says which were skipped
	@$(DEV)/bin/python -m bench.models $(GROUPS)

readme-figures: ## write the measured figures into the README's table
	@$(DEV)/bin/python scripts/readme_figures.py

lock: env-dev ## resolve the dependencies anew and write requirements/*.txt (UPGRADE=1 takes newer versions)
	@$(UV_COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra cluster --extra llama --extra dev --output-file requirements/dev.txt
	@$(UV_COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --constraints requirements/dev.txt --output-file requirements/embedded.txt
	@$(UV_COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra cluster --constraints requirements/dev.txt --output-file requirements/cluster.txt
	@sed -n 's/ \\$$//; /^opentelemetry-/d; /^[a-z0-9].*==/p' requirements/embedded.txt | \
		$(UV_COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra bento --extra llama --constraints - --output-file requirements/bento.txt
	@$(UV_COMPILE) $(if $(UPGRADE),--upgrade) requirements/build.in --output-file requirements/build.txt
	@$(UV_COMPILE) $(if $(UPGRADE),--upgrade) requirements/sbom.in --output-file requirements/sbom.txt
	@$(UV_COMPILE) $(if $(UPGRADE),--upgrade) requirements/policy.in --output-file requirements/policy.txt
	@$(UV_COMPILE) $(if $(UPGRADE),--upgrade) requirements/mlflow.in --output-file requirements/mlflow.txt

images: ## build ragstone/IMAGE: orchestrator, embedding, generation, generation-vllm, mlflow (WITH_MODEL=1 bakes the model; other settings: docs/images.md)
	@scripts/images.sh build $(IMAGE)

sbom: ## the bill of materials of IMAGE (CycloneDX) into dist
	@scripts/images.sh sbom $(IMAGE)

check-tag: ## refuse a release's TAG that says another version than package and charts
	@scripts/release.sh check-tag "$(TAG)"

publish-charts: ## package the charts and push them to CHART_REGISTRY (oci://...), with helm's credentials
	@scripts/release.sh publish-charts "$(CHART_REGISTRY)"

kind-up: ## a development cluster on kind with registry, gateway and CRDs (docs/development-cluster.md); then: tilt up
	@scripts/kind.sh up

kind-down: ## remove that cluster and its registry, with what they hold
	@scripts/kind.sh down

env-demo:
	@scripts/environment.sh $(DEMO) $(RUN_LOCKS)

env-dev:
	@scripts/environment.sh $(DEV) $(DEV_LOCKS)

env-mlflow: ## the MLflow server, in an environment of its own (850 MB)
	@scripts/environment.sh $(MLFLOW) $(MLFLOW_LOCKS)

env-bento: ## the model services (BentoML), in an environment of their own (400 MB)
	@scripts/environment.sh $(BENTO) $(BENTO_LOCKS)

env-vllm:
	@scripts/vllm_environment.sh $(VLLM)

env-policy:
	@scripts/environment.sh $(POLICY) $(POLICY_LOCKS)

clean: ## remove environments, caches and reports (no data directory)
	@rm -rf $(DEMO) $(DEV) $(POLICY) $(MLFLOW) $(BENTO) $(VLLM) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov build dist
	@find src tests bench scripts -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
