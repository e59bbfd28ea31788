# What recipes share: how a step is started, and how one is split among
# machines.  sq-pipelines(7) says what the variables mean.

LAUNCH =
SHARDS = 1
RANGES =

SHELL = /bin/bash
.SHELLFLAGS = -eo pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:

here := $(dir $(lastword $(MAKEFILE_LIST)))
numbers := $(shell seq $(SHARDS))

# After what writes $@.part: a step that failed leaves nothing.
saved = && mv $@.part $@ || { rm -f $@.part; false; }

# $(call evaluated,CSV,NEEDS,COMMAND): CSV is what sq-eval -t writes, by shards
# that can run at the same time, anywhere.
define evaluated
$(1): $(if $(filter 1,$(SHARDS)),$(2),$(numbers:%=$(1).%-of-$(SHARDS)))
ifeq ($(SHARDS),1)
	@mkdir -p $$(@D)
	$$(LAUNCH) $(3) >$$@.part $$(saved)
else
	awk -f $(here)shards.awk $$^ >$$@.part $$(saved)
endif


$(1).%-of-$(SHARDS): $(2)
	@mkdir -p $$(@D)
	$$(LAUNCH) $(3) --shard $$*/$(SHARDS) >$$@.part $$(saved)

endef

# $(call quantized,SQA,STATS,FILTER,PACK): SQA is what FILTER makes of the stream
# STATS; by RANGES, globs of tensors' names, of which each can run anywhere.
define quantized
ifeq ($(RANGES),)
$(1): $(2)
	$$(LAUNCH) bash -eo pipefail -c '$(3) <$$< | $(4) -o $$@'
else
$(1): $(foreach r,$(RANGES),$(1).$(subst *,_,$(r)).sq)
	sq-merge -q $$^ | $(4) -o $$@

$(foreach r,$(RANGES),$(eval $(call range,$(1),$(2),$(3),$(r))))
endif
endef

define range
$(1).$(subst *,_,$(4)).sq: $(2)
	$$(LAUNCH) bash -eo pipefail -c '$(3) $(if $(findstring sq-gptq,$(3)),--drop-stats) --only "$(4)" <$$< >$$@.part' $$(saved)


endef
