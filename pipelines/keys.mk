# Which questions about long texts a model still answers when a query sees some
# of the keys only.
#
#	make -f pipelines/keys.mk MODEL=llama NEEDLE=needle.jsonl \
#	    RAG=rag.jsonl TEXT=fiction.txt
#
# One in EVERY is asked: of NEEDLE, of those with FROM bytes and more; of RAG, its
# texts made longer, FROM to TO bytes, by lines of TEXT.  As they are, that is 4K
# to 8K tokens.  OUT/keys.csv: a row for each of ATTENTION and each file: asked,
# right, and those that were right with the first ATTENTION and are wrong now
# (lost), and the other way round (won).

MODEL =
NEEDLE =
RAG =
TEXT =
OUT = build/keys
EVAL = build/bin/sq-eval
ATTENTION = all pooled:0.25
FROM = 17500
TO = 29000
EVERY = 4
FLAGS =

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:
.PHONY: all

name = $(subst :,-,$(1))

all: $(OUT)/keys.csv
	@column -s, -t $<

$(OUT)/needle.jsonl: $(NEEDLE)
	mkdir -p $(@D)
	awk -v n=$(FROM) -v every=$(EVERY) 'length($$0) >= n && i++ % every == 0' $< >$@

$(OUT)/rag.jsonl: $(RAG)
	mkdir -p $(@D)
	awk -v every=$(EVERY) 'NR % every == 1 % every' $< | \
	    python3 pipelines/longer.py $(TEXT) $(FROM) $(TO) >$@

items = $(foreach a,$(ATTENTION),$(OUT)/$(call name,$(a)).items)

define ask
$(OUT)/$(call name,$(1)).items: $(OUT)/needle.jsonl $(OUT)/rag.jsonl
	cd $(OUT) && $(abspath $(EVAL)) -v $(FLAGS) --attention $(1) \
	    --items $$(@F) --task free=needle.jsonl --task free=rag.jsonl \
	    $(abspath $(MODEL)) >$$(@F).out 2>$$(@F).log
endef
$(foreach a,$(ATTENTION),$(eval $(call ask,$(a))))

$(OUT)/keys.csv: $(items)
	python3 pipelines/keys.py $(items) >$@
