# What this machine does, as measured, and RESULTS.md from all that was measured
# anywhere:
#
#	make -f pipelines/results.mk MODEL=llama CALIB=calib.txt TEXT=wiki.txt
#
# Each part is a target: kernels, speed, load, accuracy (what compare.mk finds:
# accuracy, memory, and the table of targets); RESULTS.md alone writes the page.
# A part is a CSV file in pipelines/results, named by its model and this
# machine, and beside it, as NAME.how, the command, the processor, the date and
# how busy the machine was.  What is there is kept; remove it to measure again.

MODEL = tests/data/sq-ref-7m
CALIB = tests/data/text/calib.txt
TEXT = tests/data/text/eval.txt
PROFILES = w8a16 w4a16 w4a16-g32 w3a16
SAMPLES = 64
LENGTH = 1024
PROMPTS = 128,512
BATCHES = 1,8
GENERATE = 32
LOAD = --at-once 4 --requests 32 --prompt 128 --generate 32
TASKS =
TASK_OPTIONS =
OUT = build/results
PAGE = RESULTS.md
TO = pipelines/results

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:

here := $(dir $(lastword $(MAKEFILE_LIST)))
slug = tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-' | sed 's/-\+/-/g; s/-processor//'
processor := $(shell LC_ALL=C lscpu | sed -n 's/^Model name: *//p' | head -1)
level := $(shell PATH='$(PATH)' sq-caps 2>/dev/null | awk '/"isa"/ { f = 1; next } \
	f && /]/ { exit } f { gsub(/[ ",]/, ""); l = $$0 } END { print l }')
machine := $(shell echo '$(processor) $(level)' | $(slug))
name := $(notdir $(MODEL:/=))

part = $(TO)/$(1)-$(machine).csv
kernels = $(call part,kernels)
speed = $(call part,speed-$(name))
load = $(call part,load-$(name))
accuracy = $(call part,compare-$(name))
compare = $(MAKE) -f $(here)compare.mk MODEL=$(MODEL) CALIB=$(CALIB) \
	TEXT="$(TEXT)" OUT=$(OUT) PROFILES="$(PROFILES)" SAMPLES=$(SAMPLES) \
	LENGTH=$(LENGTH) TASKS="$(TASKS)" TASK_OPTIONS="$(TASK_OPTIONS)" \
	PROMPTS=$(PROMPTS) BATCHES=$(BATCHES) GENERATE=$(GENERATE)
artifacts = $(PROFILES:%=$(OUT)/%.sqa)

.PHONY: results kernels speed load accuracy
results: kernels accuracy speed load
	@$(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) \
	    $(PAGE) TO=$(TO)

kernels: $(kernels)
speed: $(speed)
load: $(load)
accuracy: $(accuracy)

# $(call how,COMMAND): the note beside $@.
how = printf '%s\n' '$(1)' '$(processor), $(shell nproc) cores, $(level)' \
	"$$(date -u +%F)" "$$(cut -d ' ' -f 1 /proc/loadavg)" >$(@:.csv=.how)

# $(call measured,COMMAND): its output becomes $@.
measured = mkdir -p $(@D); $(call how,$(1)); { $(1); } >$@.part && \
	mv $@.part $@ || { rm -f $@.part $(@:.csv=.how); false; }

$(kernels):
	$(call measured,sq-bench --csv kernels)

# The report's figures; its table, with the targets, is kept as it is.
$(accuracy):
	mkdir -p $(@D)
	$(call how,make -f pipelines/compare.mk MODEL=$(MODEL) TEXT=$(TEXT) SAMPLES=$(SAMPLES) LENGTH=$(LENGTH))
	$(compare)
	cp $(OUT)/report.md $(@:.csv=.md)
	cp $(OUT)/report.csv $@

$(speed): $(accuracy)
	$(call measured,sq-bench --csv --prompt $(PROMPTS) --generate $(GENERATE) --batch $(BATCHES) model $(MODEL) $(artifacts))

$(load): $(accuracy)
	$(call measured,for m in $(MODEL) $(artifacts); do sq-bench -q --csv $(LOAD) load $$m; done | awk "NR == 1 || !/^date./")

.PHONY: $(PAGE)
$(PAGE):
	$(here)mkresults $(TO) >$@.part && mv $@.part $@ || \
	    { rm -f $@.part; false; }
