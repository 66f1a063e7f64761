# make demo    synthetic films through all four stages to tables and figures
# make check   lint, format, types and the fast tests, in under a minute; before every commit
# make test    all tests
# make test-torch  the attacks on PyTorch modules, in .venv-torch, without TensorFlow
# make test-kills  the four stages ended at every write, flush and rename, and after each the rerun
# make test-cluster  the grid on a Slurm of two nodes, one of which dies; wants slurmctld, slurmd, slurm-client and munge
# make fuzz    100,000 damaged films through the reader
# make lock    requirements*.lock from requirements*.txt, after a pin was changed
# make bench   the attacks' speed against other libraries, the machine and the bare gradient
# make reference  tables, figures and the numbers in README and docs, again from the rows in results/reference
# make plan    what the full reproduction takes on this device: films, passes and hours, from a few batches;
#              make plan GRID=config/study.yaml: what the grid takes
# make paper   the full reproduction, command by command (wants a GPU, the real films and list 8A: see the README)
#
# Each makes its environment by itself. PYTHON=python3.12 chooses the interpreter (3.11 or 3.12).

PYTHON ?= python3
# Installs in a third of the time that pip takes; `make lock` after a change here.
UV := 0.13.9
VENV := .venv
PY := $(VENV)/bin/python
INSTALL = $(VENV)/bin/uv pip install --quiet --python $(PY) --require-hashes
# One release for both Pythons; no address of an index, which is this machine's own affair.
LOCK = $(VENV)/bin/uv pip compile --quiet --generate-hashes --universal --fork-strategy fewest --python-version 3.11 \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
# Apart, as other libraries bring releases of their own.
BENCH := .venv-bench
DEMO := demo
RAW := data/raw
NEGATIVES := strict
SPLIT := patient

# The demo's films are small and few, so that two cores train three real backbones from scratch in minutes.
DEMO_PER_CLASS := 200
DEMO_SIZE := 75
DEMO_TRAIN := --data $(DEMO)/data --out $(DEMO)/model --weights none --preprocessing standardise
# The slowest first.
DEMO_MODELS := demo-DenseNet201 demo-InceptionV3 demo-VGG16
DEMO_ATTACK := attack.py --data $(DEMO)/data --models $(DEMO)/model --out $(DEMO)/results --films 12 --batch 6 \
  --control-films 2 --storages "8 bits" "JPEG 95"
# Three steps of 0.01 go as far as the paper's ten of 0.003, in a third of the time. With the paper's attacks the controls and searches.
DEMO_STEPS := --steps 3 --single-step-strengths 0.003 0.01 0.03 --iterative-strengths 0.003 0.01 --storing-strengths 0.003
demo-paper: DEMO_ATTACKS := $(DEMO_STEPS) --attacks fgsm fgnm bim binm pgd pgdnm noise-sign noise shuffled --stored-turning
demo-grey: DEMO_ATTACKS := $(DEMO_STEPS) --attacks bim binm --grey only --iterative-turning 1
demo-mistake: DEMO_ATTACKS := --loss probabilities --attacks bim --iterative-strengths 0.01 --steps 3 --storing-strengths
demo-ball: DEMO_ATTACKS := --protocol budget --attacks bim binm binm-unclipped apgd --iterative-strengths 0.01 \
  --storing-strengths
DEMO_SWEEPS := demo-paper demo-grey demo-mistake demo-ball

.PHONY: demo $(DEMO_MODELS) $(DEMO_SWEEPS) check test test-torch test-kills test-cluster fuzz lock bench reference plan paper clean
.DELETE_ON_ERROR:

# With pip, as pip is there; uv installs the rest.
$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' || \
	  { echo "error: Python 3.11 or 3.12 is needed; give make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock

$(VENV)/installed: requirements.lock | $(VENV)/bin/uv
	@echo "installing TensorFlow and the rest into $(VENV)"
	@$(INSTALL) -r requirements.lock
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock $(VENV)/installed
	@echo "installing what the checks and the tests need into $(VENV)"
	@$(INSTALL) -r requirements-dev.lock
	@touch $@

# What the pins of requirements.txt and requirements-dev.txt bring along, for every system, with hashes. What is locked stays
# as it is where the pins allow it; for newer releases remove the locks first.
lock: | $(VENV)/bin/uv
	echo uv==$(UV) | $(LOCK) --output-file requirements-uv.lock -
	$(LOCK) --output-file requirements.lock requirements.txt
	$(LOCK) --output-file requirements-dev.lock --constraints requirements.lock requirements-dev.txt

demo: $(VENV)/installed
	@echo "four stages, some eight minutes on two cores; the report comes last and is named at the end"
	@echo "stage 1 of 4: draw synthetic films and prepare them"
	$(PY) -m data_processing.phantom --out $(DEMO)/raw --per-class $(DEMO_PER_CLASS)
	$(PY) -m data_processing.prepare --covidx $(DEMO)/raw/covidx-cxr2 --chest-xray $(DEMO)/raw/chest-xray-pneumonia \
	  --out $(DEMO)/data --per-class $(DEMO_PER_CLASS) --image-size $(DEMO_SIZE)
	@echo "stage 2 of 4: train three backbones from scratch, two at a time; the longest stage"
	@$(MAKE) --no-print-directory -j2 $(DEMO_MODELS)
	@echo "stage 3 of 4: attack VGG16, test all three models; two sweeps at a time; 12 films, one random start, ten steps of the ceiling: no result"
	@$(MAKE) --no-print-directory -j2 $(DEMO_SWEEPS)
	@echo "stage 4 of 4: tables, figures and the report"
	$(PY) data_figure.py --results $(DEMO)/results --models $(DEMO)/model

# A model's graph is traced on one core; the other core then trains another model.
$(DEMO_MODELS): demo-%: $(VENV)/installed
	$(PY) train_finetune.py $(DEMO_TRAIN) --models $* $(DEMO_FIT)
demo-DenseNet201: DEMO_FIT := --batch 16 --epochs 2
demo-InceptionV3: DEMO_FIT := --batch 16 --epochs 4
demo-VGG16: DEMO_FIT := --batch 8 --epochs 2 --rate 1.2e-4

# Each sweep loads three models first, on one core.
$(DEMO_SWEEPS): $(VENV)/installed
	$(PY) $(DEMO_ATTACK) $(DEMO_ATTACKS)

# In under a minute, once the environment is there.
check: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) -m pytest -q -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/installed-dev
	@echo "some 4,000 tests, a quarter of an hour on two cores"
	$(PY) -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

test-kills: $(VENV)/installed-dev
	NOSIGN_EVERY_KILL=1 $(PY) -m pytest -q -n 2 --dist loadfile -rP tests/faults

test-cluster: $(VENV)/installed-dev
	@echo "starts a Slurm of its own; some eight minutes, in which little is to be seen"
	NOSIGN_SLURM=1 $(PY) -m pytest -q tests/cluster

fuzz: $(VENV)/installed-dev
	NOSIGN_FUZZ=100000 $(PY) -m pytest -q -rP tests/data_processing/test_film_fuzz.py -k damaged

# PyPI's torch for Linux brings 3 GB of CUDA; of equal releases pip prefers the build for CPUs.
$(VENV)-torch/installed: requirements-torch.txt requirements.txt
	@echo "installing PyTorch and the rest into $(VENV)-torch"
	@$(PYTHON) -m venv $(VENV)-torch
	@$(VENV)-torch/bin/python -m pip install -qq --disable-pip-version-check --retries 1 --no-deps \
	  --extra-index-url https://download.pytorch.org/whl/cpu $$(grep ^torch== requirements-torch.txt)
	@$(VENV)-torch/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-torch.txt
	@$(VENV)-torch/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torchattacks==3.5.1 requests==2.34.2
	@touch $@

# One thread for each process: two that share two cores wait for each other.
test-torch: $(VENV)-torch/installed
	KERAS_BACKEND=torch OMP_NUM_THREADS=1 $(VENV)-torch/bin/python -m pytest -q -n 2 --dist loadfile \
	  $(patsubst %,tests/attacks/test_%.py,attacks api gradients controls turning) tests/classifiers/test_pytorch.py

# PyPI's torch for Linux brings 3 GB of CUDA and does not import without; of equal releases pip prefers the build for CPUs.
# torchattacks asks for torchvision and a requests of 2020, which it does not need for this.
$(BENCH)/installed: benchmarks/requirements.txt requirements.txt requirements-dev.txt
	@echo "installing the libraries to compare with into $(BENCH)"
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --retries 1 --no-deps \
	  --extra-index-url https://download.pytorch.org/whl/cpu torch==2.13.0
	@$(BENCH)/bin/uv pip install --quiet --python $(BENCH)/bin/python -r benchmarks/requirements.txt
	@$(BENCH)/bin/uv pip install --quiet --no-deps --python $(BENCH)/bin/python torchattacks==3.5.1
	@touch $@

bench: $(BENCH)/installed
	$(BENCH)/bin/python -m benchmarks.bench

reference: $(VENV)/installed
	$(PY) -m results.reference

plan: $(VENV)/installed$(if $(GRID),-dev)
	$(PY) -m $(if $(GRID),workflow.plan --grid $(GRID),nosign.plan)

# Every command of the full reproduction; NEGATIVES=paper SPLIT=random chooses films as the paper did.
paper: plan
	$(PY) -m data_processing.download --out $(RAW)
	$(PY) -m data_processing.prepare --covidx $(RAW)/covidx-cxr2 --chest-xray $(RAW)/chest-xray-pneumonia \
	  --negatives $(NEGATIVES) --split $(SPLIT) --out data
	$(PY) train_finetune.py --data data --out model
	$(PY) attack.py --data data --models model --out results
	$(PY) data_figure.py --results results --models model

clean:
	rm -rf $(DEMO) $(VENV) $(VENV)-torch $(BENCH)
