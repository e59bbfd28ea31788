# The part that compare.mk, sweep.mk and budget.mk share: variants of a model
# are made, evaluated, timed and shown.  `variants' names them, make.NAME is the
# filter that makes one of the statistics, pack.NAME what sq-pack is told.
# sq-pipelines(7) says what the variables mean.

MODEL =
CALIB =
TEXT =
TASKS =
TASK_OPTIONS =
PRICE =
HTML = $(OUT)/report.html
CSV = $(OUT)/report.csv
SAMPLES = 128
LENGTH = 2048
WINDOW =
TOKENS =
PROMPTS = 128,512
GENERATE = 32
BATCHES = 1,8
RUNS = 3
TITLE = What compression cost: $(notdir $(MODEL:/=))

recipe := $(firstword $(MAKEFILE_LIST))
include $(dir $(lastword $(MAKEFILE_LIST)))parts.mk

.PHONY: report parts clean

ifeq ($(and $(MODEL),$(CALIB),$(TEXT)),)
$(error MODEL, CALIB and TEXT are needed: see the head of $(recipe))
endif

name = $(notdir $(MODEL:/=))
texts = $(foreach t,$(TEXT),-t $(t))
artifacts = $(variants:%=$(OUT)/%.sqa)
parts = $(OUT)/eval-$(name).csv $(variants:%=$(OUT)/eval-%.csv) \
	$(OUT)/layers.csv $(if $(RUNS),$(OUT)/speed.csv) \
	$(if $(TASKS),$(OUT)/tasks.csv)
judge = sq-eval -q --csv $(WINDOW:%=--length %) $(TOKENS:%=--tokens %) \
	$(texts) --reference $(MODEL)
ask = sq-eval -q --csv $(TASKS:%=--task %) $(TASK_OPTIONS)

# A part that cannot be made is said to be missing, and the rest is shown.
report:
	$(MAKE) -k -f $(recipe) parts || true
	sq-report --title '$(TITLE)' --baseline $(name) $(PRICE:%=--price %) \
	    --html $(HTML) --csv $(CSV) --markdown $(OUT)/report.md $(parts)

parts: $(parts)

# Statistics, once; then each variant from the same file.
$(OUT)/stats.sq: $(CALIB)
	@mkdir -p $(@D)
	$(LAUNCH) sq-calibrate -q -m $(MODEL) -t $(CALIB) --samples $(SAMPLES) \
	    --length $(LENGTH) >$@.part $(saved)

$(foreach v,$(variants),$(eval $(call quantized,$(OUT)/$(v).sqa,$(OUT)/stats.sq,$(make.$(v)),sq-pack -q $(pack.$(v)))))

$(eval $(call evaluated,$(OUT)/eval-$(name).csv,,$(judge) $(MODEL)))
$(foreach v,$(variants),$(eval $(call evaluated,$(OUT)/eval-$(v).csv,$(OUT)/$(v).sqa,$(judge) $(OUT)/$(v).sqa)))

$(OUT)/layers.csv: $(artifacts)
	$(LAUNCH) sq-eval -q --csv --layers --tokens $(or $(TOKENS),4096) \
	    -t $(firstword $(TEXT)) --reference $(MODEL) $(artifacts) >$@.part $(saved)

# The shards leave a log each, and from these the whole is told.
$(OUT)/items.csv.%: $(artifacts)
	$(LAUNCH) $(ask) --items $@.log --shard $*/$(SHARDS) \
	    --reference $(MODEL) $(artifacts) >/dev/null
	mv $@.log $@

$(OUT)/tasks.csv: $(artifacts) $(if $(filter-out 1,$(SHARDS)),$(numbers:%=$(OUT)/items.csv.%))
	$(if $(filter-out 1,$(SHARDS)),cat $(numbers:%=$(OUT)/items.csv.%) \
	    >$(OUT)/items.csv)
	$(LAUNCH) $(ask) --items $(OUT)/items.csv --reference $(MODEL) \
	    $(artifacts) >$@.part $(saved)

# After everything else, so that nothing runs beside it.
$(OUT)/speed.csv: $(artifacts) | $(filter-out $(OUT)/speed.csv,$(parts))
	$(LAUNCH) sq-bench --csv --prompt $(PROMPTS) --generate $(GENERATE) \
	    --batch $(BATCHES) --runs $(RUNS) model $(MODEL) $(artifacts) \
	    >$@.part $(saved)

clean:
	rm -rf $(OUT)
