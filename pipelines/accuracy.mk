# What each way to compress a model costs in accuracy, as tables:
#
#	make -f pipelines/accuracy.mk MODEL=llama CALIB=calib.txt \
#	    TEXTS='wiki.txt fiction.txt' OUT=accuracy
#
# OUT/accuracy.csv has a line for each setting, stretch of the calibration text
# and text: bits per weight of the linear layers (scales and zero points
# included, as the artifact has them), the divergence from the original, E (the
# rise of the mean negative log-likelihood) and the perplexities.
# OUT/means.csv has the means over stretches and texts, and OUT/curve.csv those
# of the settings that differ in weights alone, by bits.
#
# What is there already is kept: a run that was stopped goes on where it was.
# ROWS chooses settings; `make ... rows' lists them.  SAMPLES, LENGTH and SKIPS
# are the calibration's; WINDOW and TOKENS (of each text; empty: all) the
# evaluation's; J the threads of a tool.

MODEL =
CALIB =
TEXTS =
OUT = accuracy
SAMPLES = 128
LENGTH = 2048
SKIPS = 0 128
WINDOW = 2048
TOKENS =
J =

here := $(dir $(lastword $(MAKEFILE_LIST)))

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:

# A setting is what stands between the statistics and sq-pack, and what is said
# to sq-eval besides.  `curve' lists those that are points of the curve.
row.rtn-w8 = sq-rtn -p w8a16
row.rtn-w4 = sq-rtn -p w4a16 --scale mse
row.rtn-w3 = sq-rtn -p w3a16 --scale mse
row.rtn-w2 = sq-rtn -b 2 -g 32 --scale mse
row.w8 = sq-gptq -p w8a16
row.w6 = sq-gptq -p w8a16 -b 6 -g 128
row.w5 = sq-gptq -p w8a16 -b 5 -g 128
row.w4 = sq-gptq -p w4a16
row.w4-asym = sq-gptq -p w4a16-asym
row.w4-g64 = sq-gptq -p w4a16 -g 64
row.w4-g32 = sq-gptq -p w4a16-g32
row.w4-natural = sq-gptq -p w4a16 --order natural
row.w4-absmax = sq-gptq -p w4a16 --scale absmax
row.w4-mse = sq-gptq -p w4a16 --scale mse
row.w4-no-sweeps = sq-gptq -p w4a16 --sweeps 0
row.w4-fixed-scales = sq-gptq -p w4a16 --fixed-scales
row.w4-plain = sq-gptq -p w4a16 --scale mse --sweeps 0 --fixed-scales
row.w4-sequential = sq-gptq -p w4a16 --sequential
row.w4-tune = sq-gptq -p w4a16 --tune 200 --state $@.state
row.w3-tune = sq-gptq -p w3a16 --tune 200 --state $@.state
row.w3-sequential = sq-gptq -p w3a16 --sequential
row.w3 = sq-gptq -p w3a16
row.w3-g64 = sq-gptq -p w3a16 -g 64
row.w3-g32 = sq-gptq -p w3a16 -g 32
row.w2-g64 = sq-gptq -b 2 -g 64
row.w2-g32 = sq-gptq -b 2 -g 32
row.w4-mixed = sq-gptq -p w4a16-mixed
row.fp8 = sq-rtn -p fp8-dynamic

rows = rtn-w8 rtn-w4 rtn-w3 rtn-w2 w8 w6 w5 w4 w4-asym w4-g64 w4-g32 \
	w4-natural w4-absmax w4-mse w4-no-sweeps w4-fixed-scales w4-plain \
	w4-sequential w4-tune w3 w3-sequential w3-tune w3-g64 w3-g32 w2-g64 \
	w2-g32 w4-mixed fp8
curve = rtn-w8 rtn-w4 rtn-w3 rtn-w2 w8 w6 w5 w4 w4-asym w4-g64 w4-g32 \
	w4-sequential w4-tune w3 w3-sequential w3-tune w3-g64 w3-g32 w2-g64 \
	w2-g32 w4-mixed fp8
ROWS = $(rows)

j = $(if $(J),-j $(J))
judge = sq-eval -q $(j) --f32 --csv --length $(WINDOW) \
	$(if $(TOKENS),--tokens $(TOKENS)) $(TEXTS:%=-t %)
points = $(foreach r,$(ROWS),$(foreach s,$(SKIPS),$(OUT)/$(r)-$(s).csv))

.PHONY: all rows
all: $(OUT)/accuracy.csv $(OUT)/means.csv $(OUT)/curve.csv

rows:
	@$(foreach r,$(rows),printf '%-14s %s\n' $(r) '$(row.$(r)) $(judge.$(r))';)

ifneq ($(MAKECMDGOALS),rows)
$(foreach v,MODEL CALIB TEXTS,$(if $($(v)),,$(error $(v)= is missing)))
endif

# Written aside first: what make finds is whole.
$(OUT)/calib-%.sq:
	@mkdir -p $(@D)
	sq-calibrate -q $(j) -m $(MODEL) -t $(CALIB) --samples $(SAMPLES) \
	    --length $(LENGTH) --skip $* >$@.new
	mv $@.new $@

$(OUT)/original.csv:
	@mkdir -p $(@D)
	$(judge) $(MODEL) >$@.new
	mv $@.new $@

define artifact
$(OUT)/$(1)-$(2).sqa: $(OUT)/calib-$(2).sq
	$$(row.$(1)) -q $$(j) <$$< | sq-pack -q -o $$@

$(OUT)/$(1)-$(2).csv: $(OUT)/$(1)-$(2).sqa
	$$(judge) $$(judge.$(1)) --reference $$(MODEL) $$< >$$@.new
	mv $$@.new $$@
endef
$(foreach r,$(ROWS),$(foreach s,$(SKIPS),$(eval $(call artifact,$(r),$(s)))))

# Bits of the linear layers of the blocks, from the list of tensors.
bits = sq-ls $(1).sqa | awk '$$1 ~ /^model\.layers\..*_proj\.weight$$/ { \
	split($$3, d, "x"); n += d[1] * d[2]; b += $$4 } \
	END { printf "%.4f", 8 * b / n }'

$(OUT)/accuracy.csv: $(OUT)/original.csv $(points)
	{ echo setting,skip,bits_per_weight,text,kl,top1,E,ppl,ppl_original; \
	$(foreach r,$(ROWS),$(foreach s,$(SKIPS),awk -F , -v OFS=, \
	    -v row=$(r) -v skip=$(s) \
	    -v bits="$$($(call bits,$(OUT)/$(r)-$(s)))" \
	    -f $(here)accuracy.awk $(OUT)/original.csv \
	    $(OUT)/$(r)-$(s).csv;)) } >$@.new
	mv $@.new $@

$(OUT)/means.csv: $(OUT)/accuracy.csv
	awk -F , -v OFS=, -f $(here)means.awk $< >$@.new
	mv $@.new $@

$(OUT)/curve.csv: $(OUT)/means.csv
	{ echo bits_per_weight,kl,E,setting; \
	awk -F , -v OFS=, -v rows=' $(curve) ' 'NR > 1 && \
	    index(rows, " " $$1 " ") { print $$2, $$3, $$5, $$1 }' $< | \
	    sort -t , -k 1g -k 2g; } >$@.new
	mv $@.new $@
