# A baseline and its compressed variants, measured and shown:
#
#	make -f pipelines/compare.mk MODEL=llama CALIB=calib.txt TEXT=wiki.txt \
#	    OUT=compare
#
# PROFILES names the variants (sq-profile list); each is calibrated once and for
# all, quantized, packed, evaluated against MODEL and timed.  TASKS, KIND=FILE
# as sq-eval has it, are questions besides, TASK_OPTIONS what it is told of them;
# PRICE is a price file (sq-report).  OUT/report.html is the page, OUT/report.csv
# and OUT/report.md its figures; HTML and CSV put these elsewhere.
#
# What is there already is kept: a run that was stopped goes on where it was.
# A step that fails leaves nothing, and the report says what is missing.  LAUNCH
# stands before each step, for a cluster: LAUNCH='srun -n 1'.  Speed is measured
# one variant at a time, whatever -j is.

MODEL =
CALIB =
TEXT =
OUT = compare
PROFILES = w8a16 w4a16 w4a16-g32 w3a16
TASKS =
TASK_OPTIONS =
PRICE =
HTML = $(OUT)/report.html
CSV = $(OUT)/report.csv
SAMPLES = 128
LENGTH = 2048
TOKENS =
PROMPTS = 128,512
GENERATE = 32
BATCHES = 1,8
RUNS = 3
TITLE = What compression cost: $(notdir $(MODEL:/=))
LAUNCH =

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: report parts clean

ifeq ($(and $(MODEL),$(CALIB),$(TEXT)),)
$(error MODEL, CALIB and TEXT are needed: see the head of compare.mk)
endif

this := $(lastword $(MAKEFILE_LIST))
name = $(notdir $(MODEL:/=))
texts = $(foreach t,$(TEXT),-t $(t))
artifacts = $(PROFILES:%=$(OUT)/%.sqa)
parts = $(OUT)/eval-$(name).csv $(PROFILES:%=$(OUT)/eval-%.csv) \
	$(OUT)/layers.csv $(OUT)/speed.csv $(if $(TASKS),$(OUT)/tasks.csv)

# A part that cannot be made is said to be missing, and the rest is shown.
report:
	$(MAKE) -k -f $(this) parts || true
	sq-report --title '$(TITLE)' --baseline $(name) $(PRICE:%=--price %) \
	    --html $(HTML) --csv $(CSV) --markdown $(OUT)/report.md $(parts)

parts: $(parts)

$(OUT):
	mkdir -p $@

# Statistics, once; then each profile from the same file.
$(OUT)/stats.sq: $(CALIB) | $(OUT)
	$(LAUNCH) sq-calibrate -q -m $(MODEL) -t $(CALIB) --samples $(SAMPLES) \
	    --length $(LENGTH) >$@.part
	mv $@.part $@

$(OUT)/%.sqa: $(OUT)/stats.sq
	$(LAUNCH) sq-gptq -q -p $* <$< | sq-pack -q -p $* -o $@

$(OUT)/eval-$(name).csv: | $(OUT)
	$(LAUNCH) sq-eval -q --csv $(TOKENS:%=--tokens %) $(texts) \
	    --reference $(MODEL) $(MODEL) >$@.part
	mv $@.part $@

$(OUT)/eval-%.csv: $(OUT)/%.sqa
	$(LAUNCH) sq-eval -q --csv $(TOKENS:%=--tokens %) $(texts) \
	    --reference $(MODEL) $< >$@.part
	mv $@.part $@

$(OUT)/layers.csv: $(artifacts)
	$(LAUNCH) sq-eval -q --csv --layers --tokens 4096 \
	    -t $(firstword $(TEXT)) --reference $(MODEL) $(artifacts) >$@.part
	mv $@.part $@

$(OUT)/tasks.csv: $(artifacts)
	$(LAUNCH) sq-eval -q --csv $(TASKS:%=--task %) $(TASK_OPTIONS) --items $(OUT)/items.csv \
	    --reference $(MODEL) $(artifacts) >$@.part
	mv $@.part $@

# After everything else, so that nothing runs beside it.
$(OUT)/speed.csv: $(artifacts) | $(filter-out $(OUT)/speed.csv,$(parts))
	$(LAUNCH) sq-bench --csv --prompt $(PROMPTS) --generate $(GENERATE) \
	    --batch $(BATCHES) --runs $(RUNS) model $(MODEL) $(artifacts) \
	    >$@.part
	mv $@.part $@

clean:
	rm -rf $(OUT)
