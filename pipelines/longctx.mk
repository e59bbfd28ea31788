# Long contexts: for each length one prompt is computed, then REQUESTS prompts
# that share all of it, each with a tail of its own of TAIL tokens and an answer
# of TOKENS, so that the last one fills the length.  The prompts are random
# tokens and the model's positions are stretched (rope scaled linearly): quality
# is not the point, but that none fails, that the prefix is reused, that speed
# holds over the run, and that memory is what was predicted.
#
#	make -f pipelines/longctx.mk MODEL=llama
#	make -f pipelines/longctx.mk MODEL=llama LENGTHS=4096 REQUESTS=5
#
# OUT/longctx.csv: a row for each length.

MODEL =
OUT = build/longctx
BIN = build/bin
LENGTHS = 32768 65536 131072
REQUESTS = 50
TOKENS = 64
TAIL = 256
KV = int8
FLAGS =

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:
.PHONY: all

all: $(OUT)/longctx.csv
	@column -s, -t $<

$(OUT)/longctx.csv: $(LENGTHS:%=$(OUT)/%.row)
	{ echo length,kv,requests,failed,prompt_tokens,reused_tokens,prefill_s,ttft_ms,tpot_ms_first,tpot_ms_last,tpot_spread,kv_peak_mb,kv_predicted_mb; \
	    cat $^; } >$@

# The same weights with another config.json.
$(OUT)/%/config.json: $(MODEL)/config.json
	mkdir -p $(@D)
	for f in $(abspath $(MODEL))/*; do \
	    [ "$${f##*/}" = config.json ] || ln -sf "$$f" $(@D)/; done
	sed -e 's/"max_position_embeddings": *\([0-9]*\)/"max_position_embeddings": $*/' \
	    -e 's/"rope_scaling": *null/"rope_scaling": {"rope_type": "linear", "factor": 16.0}/' \
	    $< >$@

$(OUT)/%.prompts:
	mkdir -p $(@D)
	awk -v n=$$(($* - $(TAIL) - $(TOKENS))) -v tail=$(TAIL) \
	    -v m=$(REQUESTS) -v tokens=$(TOKENS) ' \
	function ids(n,    s) { while (n-- > 0) s = s "," 10 + int(rand() * 1000); \
	    return s } \
	BEGIN { srand(1); text = ids(n - 1); \
	    printf "{\"prompt\": [1%s], \"max_tokens\": 1}\n", text; \
	    for (i = 1; i <= m; i++) \
	        printf "{\"prompt\": [1%s%s], \"max_tokens\": %d}\n", text, \
	            ids(tail), tokens }' >$@

$(OUT)/%.json: $(OUT)/%/config.json $(OUT)/%.prompts
	$(BIN)/sq-run -v --json --times --greedy --ignore-eos --batch 1 --kv $(KV) \
	    $(FLAGS) $(OUT)/$* <$(OUT)/$*.prompts >$@ 2>$(OUT)/$*.log

$(OUT)/%.row: $(OUT)/%.json
	python3 pipelines/longctx.py $* $(KV) $(OUT)/$*.log <$< >$@
