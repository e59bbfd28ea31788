# A baseline and its compressed variants, measured and shown:
#
#	make -f pipelines/compare.mk MODEL=llama CALIB=calib.txt TEXT=wiki.txt \
#	    OUT=compare
#
# PROFILES names the variants (sq-profile list); each is calibrated once and for
# all, quantized, packed, evaluated against MODEL and timed.  OUT/report.html is
# the page, OUT/report.csv and OUT/report.md its figures.
#
# What is there already is kept: a run that was stopped goes on where it was.
# A step that fails leaves nothing, and the report says what is missing.  Speed
# is measured one variant at a time, whatever -j is.  sq-pipelines(7) has the
# variables.

OUT = compare
PROFILES = w8a16 w4a16 w4a16-g32 w3a16

variants = $(PROFILES)
$(foreach p,$(PROFILES),$(eval make.$(p) = sq-gptq -q -p $(p)))
$(foreach p,$(PROFILES),$(eval pack.$(p) = -p $(p)))

include $(dir $(lastword $(MAKEFILE_LIST)))variants.mk
