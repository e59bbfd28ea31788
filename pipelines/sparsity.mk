# What masks cost: a model is calibrated once, masked in each way, and its
# perplexity compared with that of the whole model on the same tokens.
#
#	make -f pipelines/sparsity.mk MODEL=llama CALIB=mixed.txt TEXT=wiki.txt
#
# OUT/sparsity.csv: a row for each way; e is ln(perplexity) less that of the
# whole model.  RUNS names the ways, and run_NAME what is done to the stream.

MODEL =
CALIB =
TEXT =
OUT = build/sparsity
BIN = build/bin
EVAL = $(BIN)/sq-eval
SAMPLES = 16
LENGTH = 1024
TOKENS = 8192
GROUP = 128

mask = $(BIN)/sq-mask -q --drop-stats
moved = $(mask) --criterion movement --sweeps 8
plain = --sweeps 0 --order natural
gptq = $(BIN)/sq-gptq -q --drop-stats -g $(GROUP)

RUNS = dense 24-magnitude 24-wanda 24-movement 24-sparsegpt 24-sweeps \
    24-sequential 24-moved 48-sparsegpt 48-sweeps 48-moved any-magnitude \
    any-wanda any-movement any-sparsegpt any-sweeps any-uneven any-moved \
    64x64-wanda 64x64-moved int4 24-int4 24-int4-joint \
    24-magnitude-permuted 24-wanda-permuted 24-sparsegpt-permuted \
    24-sweeps-permuted

run_dense = cat
run_24-magnitude = $(mask) --criterion magnitude
run_24-wanda = $(mask) --criterion wanda
run_24-movement = $(mask) --criterion movement
run_24-sparsegpt = $(mask) $(plain)
run_24-sweeps = $(mask)
run_24-sequential = $(mask) --sequential
run_24-moved = $(moved)
run_48-sparsegpt = $(mask) --pattern 4:8 $(plain)
run_48-sweeps = $(mask) --pattern 4:8
run_48-moved = $(moved) --pattern 4:8
run_any-magnitude = $(mask) --pattern unstructured --criterion magnitude
run_any-wanda = $(mask) --pattern unstructured --criterion wanda
run_any-movement = $(mask) --pattern unstructured --criterion movement
run_any-sparsegpt = $(mask) --pattern unstructured $(plain)
run_any-sweeps = $(mask) --pattern unstructured
run_any-uneven = $(mask) --pattern unstructured --allocate sensitivity
run_any-moved = $(moved) --pattern unstructured --allocate sensitivity
run_64x64-wanda = $(mask) --pattern 64x64 --criterion wanda
run_64x64-moved = $(moved) --pattern 64x64
run_int4 = $(gptq)
run_24-int4 = $(BIN)/sq-mask -q | $(gptq)
run_24-int4-joint = $(gptq) --mask 2:4
permuted = $(BIN)/sq-mask -q --permute --criterion
run_24-magnitude-permuted = $(permuted) magnitude | $(run_24-magnitude)
run_24-wanda-permuted = $(permuted) wanda | $(run_24-wanda)
run_24-sparsegpt-permuted = $(permuted) sparsegpt | $(run_24-sparsegpt)
run_24-sweeps-permuted = $(permuted) sparsegpt | $(run_24-sweeps)

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all

all: $(OUT)/sparsity.csv
	@column -s, -t $<

$(OUT)/c.sq:
	mkdir -p $(@D)
	$(BIN)/sq-import $(MODEL) | $(BIN)/sq-calibrate -q -t $(CALIB) \
	    --samples $(SAMPLES) --length $(LENGTH) >$@

$(OUT)/%.sq: $(OUT)/c.sq
	<$< $(run_$*) >$@

$(OUT)/%.eval: $(OUT)/%.sq
	$(EVAL) -q --csv -t $(TEXT) --length $(LENGTH) \
	    --tokens $(TOKENS) $< >$@

$(OUT)/sparsity.csv: $(RUNS:%=$(OUT)/%.eval)
	for r in $(RUNS); do \
	    awk -F , -v run=$$r 'NR == 1 { for (i = 1; i <= NF; i++) at[$$i] = i } \
	        END { print run "," $$at["tokens"] "," $$at["nll"] "," $$at["ppl"] }' \
	        $(OUT)/$$r.eval; \
	done | awk -F , -v OFS=, 'NR == 1 { print "way", "tokens", "nll", "ppl", "e"; \
	    whole = $$3 } { print $$0, sprintf("%.4f", $$3 - whole) }' >$@
