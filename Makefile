# Commands of a checkout: make help
SHELL := /bin/bash
.SHELLFLAGS := -e -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo page test fuzz lint field bench train-release clean

LEVEL ?= runtime

# Nodes of a test or a demo neither talk to other machines nor write to the home folder.
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
export ROS_LOG_DIR ?= $(CURDIR)/build/ros_log
# Large raw images fit into shared memory only with this profile.
export FASTRTPS_DEFAULT_PROFILES_FILE ?= $(CURDIR)/config/fastdds_large_images.xml

# Sourcing puts the environment's own python3 first in PATH.
IN_ROS := . install/setup.bash &&

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

setup:  ## make the environment and build the packages (LEVEL=test: with test tools and training)
	scripts/setup.sh $(LEVEL)

demo:  ## track a target through real ROS 2 nodes (own video: VIDEO=path BOX=x,y,w,h [GROUNDTRUTH=path])
	scripts/setup.sh runtime
	$(IN_ROS) python3 -m distill_tracker_ros.demo --output build/demo \
	  $(if $(VIDEO),--video "$(VIDEO)") $(if $(BOX),--box "$(BOX)") $(if $(GROUNDTRUTH),--groundtruth "$(GROUNDTRUTH)") $(DEMO_ARGS)

page:  ## play a video to the operator's page, for a browser (own video: VIDEO=path; PAGE_ARGS="--port 9000")
	scripts/setup.sh runtime
	$(IN_ROS) python3 -m distill_tracker_ros.demo.page $(if $(VIDEO),--video "$(VIDEO)") $(PAGE_ARGS)

test:  ## run all tests (TEST_ARGS="-k crop -x" chooses)
	scripts/setup.sh test
	$(IN_ROS) python3 -m pytest $(TEST_ARGS)

FUZZ_CASES ?= 100000
fuzz:  ## try hostile inputs, FUZZ_CASES in all (the tests try some thousand)
	scripts/setup.sh test
	$(IN_ROS) python3 -m pytest test/fuzz --fuzz-cases $(FUZZ_CASES) -o timeout=0

lint:  ## check style, types and the direction of imports
	scripts/setup.sh test
	$(IN_ROS) ruff check .
	$(IN_ROS) ruff format --check .
	$(IN_ROS) mypy
	$(IN_ROS) lint-imports

MINUTES ?= 60
field:  ## fly through faults, hostile input, load and an hour (MINUTES=60), and write docs/field.md
	scripts/setup.sh test
	$(IN_ROS) python3 -m pytest test/faults
	$(IN_ROS) python3 -m pytest test/fuzz --fuzz-cases $(FUZZ_CASES) -o timeout=0
	$(IN_ROS) python3 benchmarks/load.py
	$(IN_ROS) python3 benchmarks/soak.py --minutes $(MINUTES) --plot docs/soak.png
	$(IN_ROS) python3 scripts/field_tables.py

bench:  ## measure speed against the usual alternatives (BENCH_ARGS="--help" lists the choices)
	scripts/setup.sh runtime
	$(IN_ROS) python3 benchmarks/run.py $(BENCH_ARGS)

# What the shipped models come from, each begun from those before; on a GPU training goes on.
GPUS = $(words $(wildcard /dev/nvidia[0-9] /dev/nvidia[0-9][0-9]))
ON_CPUS = $(filter 0,$(GPUS))
RELEASE = eatrack_small eatrack_teacher_nano eatrack_nano eatrack_release_narrow eatrack_release $(if $(ON_CPUS),,eatrack_teacher_gpu eatrack_gpu)
train-release:  ## train the shipped models: DATA=folder of data sets [BUDGET=minutes]; goes on where it stopped
	$(if $(DATA),,$(error say DATA=folder: what lies in it is described in docs/training_data.md))
	scripts/setup.sh test
	$(IN_ROS) $(if $(ON_CPUS),OMP_NUM_THREADS=1) torchrun --nproc_per_node $(if $(ON_CPUS),2,$(GPUS)) -m training train \
	  $(RELEASE:%=training/recipes/%.yaml) --data "$(DATA)" $(if $(BUDGET),--minutes $(BUDGET))

clean:  ## remove what was built; the environment in .venv stays
	rm -rf build install log .mypy_cache .pytest_cache .ruff_cache .import_linter_cache *.egg-info
