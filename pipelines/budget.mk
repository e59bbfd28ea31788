# What a model costs at each number of bits for a weight, when every tensor gets
# the grid that it needs:
#
#	make -f pipelines/budget.mk MODEL=llama CALIB=calib.txt TEXT=wiki.txt \
#	    OUT=budget BUDGETS='3 3.5 4 5 6'
#
# A variant is called bBITS.  A budget looks at the whole model, so that RANGES
# has no effect; the rest is as in compare.mk.

OUT = budget
BUDGETS = 3 3.5 4 5 6
GROUP = 128

variants = $(BUDGETS:%=b%)
$(foreach b,$(BUDGETS),$(eval make.b$(b) = sq-gptq -q --budget $(b) -g $(GROUP)))
override RANGES =

include $(dir $(lastword $(MAKEFILE_LIST)))variants.mk
