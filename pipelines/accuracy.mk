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
# ROWS chooses settings; `make ... rows' lists them, and `make ... artifacts'
# stops before any is judged, so that another machine can do that.  SAMPLES,
# LENGTH and SKIPS are the calibration's; WINDOW, TOKENS (of each text; empty:
# all) and EVAL (more options of sq-eval) the evaluation's; STEPS those of
# tuning; J the threads of a tool.  With make -j settings run side by side.

MODEL =
CALIB =
TEXTS =
OUT = accuracy
SAMPLES = 128
LENGTH = 2048
SKIPS = 0 128
WINDOW = 2048
TOKENS =
EVAL =
STEPS = 200
J =

here := $(dir $(lastword $(MAKEFILE_LIST)))

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:

j = $(if $(J),-j $(J))
q = -q $(j)

# A setting is what stands between the statistics (or, for those in `light',
# the tokens alone) and sq-pack, and what is said to sq-eval besides.

# Weights alone: the points of the curve.
row.rtn-w8 = sq-rtn $q -p w8a16
row.rtn-w4 = sq-rtn $q -p w4a16 --scale mse
row.rtn-w3 = sq-rtn $q -p w3a16 --scale mse
row.rtn-w2 = sq-rtn $q -b 2 -g 32 --scale mse
row.w8 = sq-gptq $q -p w8a16
row.w6 = sq-gptq $q -p w8a16 -b 6 -g 128
row.w5 = sq-gptq $q -p w8a16 -b 5 -g 128
row.w4 = sq-gptq $q -p w4a16
row.w4-asym = sq-gptq $q -p w4a16-asym
row.w4-g64 = sq-gptq $q -p w4a16 --no-sequential -g 64
row.w4-g32 = sq-gptq $q -p w4a16-g32
row.w3 = sq-gptq $q -p w3a16
row.w3-g64 = sq-gptq $q -p w3a16 --no-sequential -g 64
row.w3-g32 = sq-gptq $q -p w3a16 --no-sequential -g 32
row.w2-g64 = sq-gptq $q -b 2 -g 64
row.w2-g32 = sq-gptq $q -b 2 -g 32
row.w4-mixed = sq-gptq $q -p w4a16-mixed
row.fp8 = sq-gptq $q --grid fp8_e4m3 -g 0
row.q4_0 = sq-gptq $q -p q4_0
row.iq4_nl = sq-gptq $q -p iq4_nl
row.iq4_xs = sq-gptq $q -p iq4_xs
row.q4_k = sq-gptq $q -p q4_k
row.q4_k-mixed = sq-gptq $q -p q4_k-mixed
row.q5_k = sq-gptq $q --grid q5_k
row.q6_k = sq-gptq $q -p q6_k
row.mxfp4 = sq-gptq $q -p mxfp4
row.budget-3.25 = sq-gptq $q --budget 3.25
row.budget-4.25 = sq-gptq $q --budget 4.25
row.budget-5.25 = sq-gptq $q --budget 5.25
row.budget-4.25-sequential = sq-gptq $q --budget 4.25 --sequential
row.budget-4.25-int = sq-gptq $q --budget 4.25 --grids int2,int3,int4,int5,int6,int8
row.w4-g64-sequential = sq-gptq $q -p w4a16 -g 64
row.w4-statistics = sq-gptq $q -p w4a16 --no-sequential
row.w3-statistics = sq-gptq $q -p w3a16 --no-sequential
row.q4_0-statistics = sq-gptq $q -p q4_0 --no-sequential
row.iq4_nl-statistics = sq-gptq $q -p iq4_nl --no-sequential
row.iq4_xs-statistics = sq-gptq $q -p iq4_xs --no-sequential
row.q4_k-statistics = sq-gptq $q -p q4_k --no-sequential
row.w4-tune = sq-gptq $q -p w4a16 --tune $(STEPS) --state $@.state
row.w3-tune = sq-gptq $q -p w3a16 --tune $(STEPS) --state $@.state
blocks = --sequential --tune-blocks $(STEPS) --state $@.state
row.w4-blocks = sq-gptq $q -p w4a16 $(blocks)
row.w3-blocks = sq-gptq $q -p w3a16 $(blocks)
weights = rtn-w8 rtn-w4 rtn-w3 rtn-w2 w8 w6 w5 w4 w4-asym w4-g64 w4-g32 w3 \
	w3-g64 w3-g32 w2-g64 w2-g32 w4-mixed fp8 q4_0 iq4_nl iq4_xs q4_k \
	q4_k-mixed q5_k q6_k mxfp4 budget-3.25 budget-4.25 budget-5.25 \
	budget-4.25-sequential budget-4.25-int w4-g64-sequential \
	w4-statistics w3-statistics q4_0-statistics iq4_nl-statistics \
	iq4_xs-statistics q4_k-statistics w4-tune w3-tune \
	w4-blocks w3-blocks
light = w4-tune w3-tune w4-blocks w3-blocks

# The parts of the default, one changed at a time; each of what can stand
# before it, alone and added to it.
row.w4-natural = sq-gptq $q -p w4a16 --no-sequential --order natural
row.w4-absmax = sq-gptq $q -p w4a16 --no-sequential --scale absmax
row.w4-mse = sq-gptq $q -p w4a16 --no-sequential --scale mse
row.w4-no-sweeps = sq-gptq $q -p w4a16 --no-sequential --sweeps 0
row.w4-fixed-scales = sq-gptq $q -p w4a16 --no-sequential --fixed-scales
row.w4-no-pairs = sq-gptq $q -p w4a16 --no-sequential --no-pairs
row.w4-plain = sq-gptq $q -p w4a16 --no-sequential --scale mse --sweeps 0 --fixed-scales
row.smooth-rtn = sq-smooth $q -p w4a16 --act none | sq-rtn $q -p w4a16
row.smooth-w4 = sq-smooth $q -p w4a16 --act none | sq-gptq $q -p w4a16 --no-sequential
row.free-rtn = sq-smooth $q -p w4a16 --data-free | sq-rtn $q -p w4a16
row.awq-rtn = sq-awq $q -p w4a16 | sq-rtn $q -p w4a16
row.awq-w4 = sq-awq $q -p w4a16 | sq-gptq $q -p w4a16 --no-sequential
row.rotate-rtn = sq-rotate $q | sq-rtn $q -p w4a16
row.rotate-w4 = sq-rotate $q | sq-gptq $q -p w4a16 --no-sequential
parts = w4-natural w4-absmax w4-mse w4-no-sweeps w4-fixed-scales w4-no-pairs \
	w4-plain smooth-rtn smooth-w4 free-rtn awq-rtn awq-w4 rotate-rtn \
	rotate-w4

# Activations too.
row.a8-int8 = sq-act $q int8
row.a8-fp8 = sq-act $q fp8
row.w8a8-int8-rtn = sq-rtn $q -p w8a8-int8
row.w8a8-int8 = sq-gptq $q -p w8a8-int8
row.w8a8-int8-smooth = sq-smooth $q -p w8a8-int8 | sq-gptq $q -p w8a8-int8
row.w8a8-fp8-rtn = sq-rtn $q -p fp8-dynamic
row.w8a8-fp8 = sq-gptq $q -p fp8-dynamic
row.w8a8-fp8-static = sq-act $q -p w8a8-fp8 | sq-gptq $q -p w8a8-fp8
row.w4a8 = sq-gptq $q -p w4a8
row.w4a8-smooth = sq-smooth $q -p w4a8 | sq-gptq $q -p w4a8
acts = a8-int8 a8-fp8 w8a8-int8-rtn w8a8-int8 w8a8-int8-smooth w8a8-fp8-rtn \
	w8a8-fp8 w8a8-fp8-static w4a8 w4a8-smooth

# The cache alone: of the original, so that no row makes an artifact.
judge.kv-int8 = --kv int8
judge.kv-fp8 = --kv fp8
judge.kv-int4 = --kv int4
judge.kv-int4-plain = --kv int4,no-hadamard
judge.kv-int4-whole = --kv int4,sink=0,window=0
judge.kv-int4-whole-plain = --kv int4,sink=0,window=0,no-hadamard
judge.kv-int4-channel = --kv int4,channel
judge.kv-int2 = --kv int2
cache = kv-int8 kv-fp8 kv-int4 kv-int4-plain kv-int4-whole \
	kv-int4-whole-plain kv-int4-channel kv-int2

rows = $(weights) $(parts) $(acts) $(cache)
ROWS = $(rows)

# Not every device computes what these ask for.
asked = $(if $(filter $(1),$(acts) $(cache)),,$(EVAL)) $(judge.$(1))
judge = sq-eval $q --f32 --csv --length $(WINDOW) \
	$(if $(TOKENS),--tokens $(TOKENS)) $(TEXTS:%=-t %)
skips = $(if $(row.$(1)),$(SKIPS),$(firstword $(SKIPS)))
each = $(foreach r,$(2),$(foreach s,$(call skips,$(r)),$(OUT)/$(r)-$(s).$(1)))
made = $(foreach r,$(ROWS),$(if $(row.$(r)),$(r)))
points = $(call each,csv,$(ROWS))

.PHONY: all artifacts rows
all: $(OUT)/accuracy.csv $(OUT)/means.csv $(OUT)/curve.csv
artifacts: $(call each,sqa,$(made))

rows:
	@$(foreach r,$(rows),printf '%-20s %s\n' $(r) \
	    '$(row.$(r)) $(judge.$(r))';)

ifneq ($(MAKECMDGOALS),rows)
$(foreach v,MODEL CALIB TEXTS,$(if $($(v)),,$(error $(v)= is missing)))
endif

# Written aside first: what make finds is whole.
calibrate = sq-calibrate $q -m $(MODEL) -t $(CALIB) --samples $(SAMPLES) \
	--length $(LENGTH) --skip $*
$(OUT)/calib-%.sq:
	@mkdir -p $(@D)
	$(calibrate) >$@.new
	mv $@.new $@

$(OUT)/tokens-%.sq:
	@mkdir -p $(@D)
	$(calibrate) --tokens-only >$@.new
	mv $@.new $@

$(OUT)/original.csv:
	@mkdir -p $(@D)
	$(judge) $(EVAL) $(MODEL) >$@.new
	mv $@.new $@

from = $(OUT)/$(if $(filter $(1),$(light)),tokens,calib)-$(2).sq
define artifact
$(OUT)/$(1)-$(2).sqa: $(call from,$(1),$(2))
	<$$< $$(row.$(1)) | sq-pack -q -o $$@

$(OUT)/$(1)-$(2).csv: $(OUT)/$(1)-$(2).sqa
	$$(judge) $$(call asked,$(1)) --reference $$(MODEL) $$< >$$@.new
	mv $$@.new $$@
endef
define original
$(OUT)/$(1)-$(2).csv:
	@mkdir -p $$(@D)
	$$(judge) $$(call asked,$(1)) --reference $$(MODEL) $$(MODEL) >$$@.new
	mv $$@.new $$@
endef
$(foreach r,$(ROWS),$(foreach s,$(call skips,$(r)),$(eval \
	$(call $(if $(row.$(r)),artifact,original),$(r),$(s)))))

# Bits of the linear layers of the blocks, from the list of tensors.
list = $(if $(row.$(1)),sq-ls $(OUT)/$(1)-$(2).sqa,sq-import -q $(MODEL) | sq-ls)
bits = $(call list,$(1),$(2)) | \
	awk '$$1 ~ /^model\.layers\..*_proj\.weight$$/ { \
	split($$3, d, "x"); n += d[1] * d[2]; b += $$4 } \
	END { printf "%.4f", 8 * b / n }'

$(OUT)/accuracy.csv: $(OUT)/original.csv $(points)
	{ echo setting,skip,bits_per_weight,text,kl,top1,E,ppl,ppl_original; \
	$(foreach r,$(ROWS),$(foreach s,$(call skips,$(r)),awk -F , -v OFS=, \
	    -v row=$(r) -v skip=$(s) \
	    -v bits="$$($(call bits,$(r),$(s)))" \
	    -f $(here)accuracy.awk $(OUT)/original.csv \
	    $(OUT)/$(r)-$(s).csv;)) } >$@.new
	mv $@.new $@

$(OUT)/means.csv: $(OUT)/accuracy.csv
	awk -F , -v OFS=, -f $(here)means.awk $< >$@.new
	mv $@.new $@

$(OUT)/curve.csv: $(OUT)/means.csv
	{ echo bits_per_weight,kl,E,setting; \
	awk -F , -v OFS=, -v rows=' $(weights) ' 'NR > 1 && \
	    index(rows, " " $$1 " ") { print $$2, $$3, $$5, $$1 }' $< | \
	    sort -t , -k 1g -k 2g; } >$@.new
	mv $@.new $@
