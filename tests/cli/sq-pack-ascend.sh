#!/bin/bash
# AscendV1 as its loader wants it: ascend_rules.py has the rules.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"
command -v python3 >/dev/null || skip "no python3"

rules=$root/tests/cli/ascend_rules.py
two_blocks two
sq-import -q two >m.sq
sq-calibrate -q --samples 2 --length 64 -t "$root/LICENSE" <m.sq >c.sq
sq-rtn -q -b 8 <m.sq >8.sq
sq-act -q int8 <8.sq >8d.sq
sq-rtn -q -b 4 <m.sq | sq-act -q int8 >4d.sq
sq-rtn -q -b 8 <c.sq | sq-act -q int8:static >8s.sq
for t in "8 W8A16" "8d W8A8_DYNAMIC" "4d W4A8_DYNAMIC" "8s W8A8"; do
	set -- $t
	sq-pack -q -f ascend -o "$1" <"$1.sq"
	python3 "$rules" "$1" "$2" || fail "$2"
done

# The rules notice what is missing.
exits 1 python3 "$rules" 8 W8A8_DYNAMIC
python3 - 8d/quant_model_description.json <<'END'
import json, sys
d = json.load(open(sys.argv[1]))
del d["model.layers.0.mlp.up_proj.weight_scale"]
json.dump(d, open(sys.argv[1], "w"))
END
exits 1 python3 "$rules" 8d W8A8_DYNAMIC
