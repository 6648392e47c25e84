.PHONY: help run test race lint bench perf prove ci

help: ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

run: ## Run the main job on embedded parts
	go run ./examples/consumer

test: ## Run all tests; real servers on PATH are used, none is needed
	go test ./...

race: ## Run all tests with the race detector
	go test -race ./...

lint: ## gofmt, go vet, go mod tidy
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	go mod tidy -diff

bench: ## Run the benchmarks
	go test -run '^$$' -bench . -benchmem ./...

perf: ## Measure against the raw limit and against peers, and write docs/performance.md; ARGS="-short" for a look
	go run -C bench . $(ARGS)

prove: ## Run the fault campaign and write docs/proof.md; ARGS="-fault F1 -messages 10000" to choose
	go run ./testutil/prove $(ARGS)

ci: ## Everything that must hold before a change lands
	.ci/run
