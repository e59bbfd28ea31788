# Every combination of methods, bits and groups, measured and shown:
#
#	make -f pipelines/sweep.mk MODEL=llama CALIB=calib.txt TEXT=wiki.txt \
#	    OUT=sweep METHODS='rtn gptq' BITS='8 4 3' GROUPS='128 32'
#
# A variant is called METHOD-wBITS-gGROUP.  The page shows accuracy against
# size; the rest is as in compare.mk.  RUNS= leaves the timing out.

OUT = sweep
METHODS = rtn gptq
BITS = 8 4 3
GROUPS = 128 64 32

variants = $(foreach m,$(METHODS),$(foreach b,$(BITS),$(foreach g,$(GROUPS),$(m)-w$(b)-g$(g))))
$(foreach m,$(METHODS),$(foreach b,$(BITS),$(foreach g,$(GROUPS),$(eval make.$(m)-w$(b)-g$(g) = sq-$(m) -q -b $(b) -g $(g)))))

include $(dir $(lastword $(MAKEFILE_LIST)))variants.mk
