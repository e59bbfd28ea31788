# Long contexts: for each length one prompt is computed, then REQUESTS prompts
# that share all of it but a tail of their own, each with an answer of TOKENS.
# The model's positions are stretched (rope scaled linearly): quality is not the
# point, but that none fails, that the prefix is reused, that speed holds over
# the run, and that memory is what was predicted.
#
#	make -f pipelines/longctx.mk MODEL=llama TEXT=book.txt
#	make -f pipelines/longctx.mk MODEL=llama TEXT=book.txt LENGTHS=4096 REQUESTS=5
#
# OUT/longctx.csv: a row for each length.

MODEL =
TEXT =
OUT = build/longctx
BIN = build/bin
LENGTHS = 32768 65536 131072
REQUESTS = 50
TOKENS = 64
KV = int4
# Characters of TEXT that make a token, at least: the prompt must fit.
CHARS = 3
# Characters of a tail: about 256 tokens.
TAIL = 900

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:
.PHONY: all

all: $(OUT)/longctx.csv
	@column -s, -t $<

$(OUT)/longctx.csv: $(LENGTHS:%=$(OUT)/%.row)
	{ echo length,kv,requests,failed,prompt_tokens,reused_tokens,prefill_s,ttft_ms,tpot_ms_first,tpot_ms_last,kv_peak_mb,kv_predicted_mb; \
	    cat $^; } >$@

# The same weights with another config.json.
$(OUT)/%/config.json: $(MODEL)/config.json
	mkdir -p $(@D)
	for f in $(abspath $(MODEL))/*; do \
	    [ "$${f##*/}" = config.json ] || ln -sf "$$f" $(@D)/; done
	sed -e 's/"max_position_embeddings": *\([0-9]*\)/"max_position_embeddings": $*/' \
	    -e 's/"rope_scaling": *null/"rope_scaling": {"rope_type": "linear", "factor": 16.0}/' \
	    $< >$@

$(OUT)/%.prompts: $(TEXT)
	mkdir -p $(@D)
	awk -v n=$$(($* * $(CHARS) - $(TAIL))) -v tail=$(TAIL) -v m=$(REQUESTS) \
	    -v tokens=$(TOKENS) ' \
	{ gsub(/[\\"[:cntrl:]]/, " "); all = all " " $$0 } \
	END { while (length(text) < n) text = text all; \
	    text = substr(text, 1, n); \
	    printf "{\"prompt\": \"%s\", \"max_tokens\": 1}\n", text; \
	    for (i = 1; i <= m; i++) \
	        printf "{\"prompt\": \"%s %d%s\", \"max_tokens\": %d}\n", text, i, \
	            substr(all, 1 + i * 37 % (length(all) - tail), tail), tokens }' $< >$@

$(OUT)/%.json: $(OUT)/%/config.json $(OUT)/%.prompts
	$(BIN)/sq-run -v --json --times --greedy --ignore-eos --batch 1 --kv $(KV) \
	    $(OUT)/$* <$(OUT)/$*.prompts >$@ 2>$(OUT)/$*.log

$(OUT)/%.row: $(OUT)/%.json
	python3 pipelines/longctx.py $* $(KV) $(OUT)/$*.log <$< >$@
