SHELL := /bin/bash
PYTHON ?= python3
IN_ENVIRONMENT := source environment.sh &&
PYTEST := python -m pytest --disable-plugin-autoload -p pytest_timeout
PACKAGES := $(filter-out src/mtopt_msgs/mtopt_msgs,$(foreach package,$(wildcard src/*),$(package)/$(notdir $(package))))

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults network soak gazebo gazebo-smoke gazebo-long gazebo-root lint clean

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## Make .venv and build all packages; every other target does this first
	@$(PYTHON) tools/bootstrap.py

demo: setup ## Collect, learn and evaluate in the simulated cell; writes out/demo/report.html
	@$(IN_ENVIRONMENT) mtopt demo

test: setup ## Run all tests
	@$(IN_ENVIRONMENT) $(PYTEST)

faults: setup ## Break a running graph every 15 s for 3 minutes and see that it recovers; --minutes 30 by hand
	@$(IN_ENVIRONMENT) python bench/bench_faults.py --minutes 3 --every 15

network: setup ## Have a robot and a trainer on two machines made of namespaces, a slow and lossy road between (root)
	@$(IN_ENVIRONMENT) $(PYTEST) -o timeout=900 test_network

soak: setup ## Let two simulated robots collect and learn for an hour; prints what grows and what is late
	@$(IN_ENVIRONMENT) python bench/bench_soak.py

gazebo: gazebo-root ## Hold Gazebo 11 to MuJoCo's contract, drive it through the graph, evaluate the shipped policy there
	@$(IN_ENVIRONMENT) $(PYTEST) -o timeout=1200 test_gazebo
	@$(IN_ENVIRONMENT) mtopt evaluate --sim gazebo --checkpoint models/policy --tasks lift-any,place-any --episodes 20 --workers 1

gazebo-smoke: gazebo-root ## Of `make gazebo` what CI runs: an episode of each skill through the graph, a diverged server, the clock
	@$(IN_ENVIRONMENT) $(PYTEST) -o timeout=1200 test_gazebo -k 'each_skill or diverge or clock'

gazebo-long: gazebo-root ## What takes hours in Gazebo: the clock over three hours, speed, the exact script, sim-to-sim
	@$(IN_ENVIRONMENT) MTOPT_GAZEBO_MINUTES=180 $(PYTEST) -s -o timeout=0 test_gazebo/test_contract.py -k clock
	@$(IN_ENVIRONMENT) python bench/bench_gazebo.py
	@$(IN_ENVIRONMENT) python bench/bench_graph.py --sim gazebo --image-size 472 --episodes 10
	@$(IN_ENVIRONMENT) python bench/bench_script.py --sim gazebo --tasks lift-any,place-any --no-noise
	@$(IN_ENVIRONMENT) python bench/bench_sim_to_sim.py
	@$(IN_ENVIRONMENT) python bench/bench_randomisation.py

gazebo-root: setup ## Prepare Gazebo 11 in the cache folder (a Debian 11 tree of its own)
	@$(IN_ENVIRONMENT) python tools/gazebo_root.py

lint: setup ## Check format, style and types
	@$(IN_ENVIRONMENT) ruff format --check . && ruff check . && mypy $(PACKAGES) tools bench

clean: ## Remove what was installed and built; data and reports stay
	rm -rf .venv build install log .mypy_cache .pytest_cache .ruff_cache
