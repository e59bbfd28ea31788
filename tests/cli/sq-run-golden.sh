#!/bin/bash
# sq-run against what Transformers gave in float32: the best of each position
# and the greedy continuation, for each reference model that is here.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

golden=$shared/data/golden/reference.json
[ -r "$golden" ] || skip "no $golden"
python=$(command -v python3) || skip "no Python to read $golden"

cat >ask.py <<'END'
import csv, io, json, subprocess, sys

def rows(*args):
    out = subprocess.run(["sq-run", *args], capture_output=True, text=True,
                         check=True).stdout
    return list(csv.DictReader(io.StringIO(out)))

golden, name, model = sys.argv[1:]
for case in json.load(open(golden))[name]["logits"]:
    prompt = case["prompt"]
    got = {(int(r["position"]), int(r["id"])): float(r["logprob"])
           for r in rows("-n", "0", "--f32", "--logprobs", "64", model,
                         prompt)}
    for at, (ids, lps) in enumerate(zip(case["top_ids"],
                                        case["top_logprobs"])):
        for i, lp in zip(ids, lps):
            if abs(got.get((at, i), 99) - lp) > 2e-3:
                sys.exit("%s: '%s': position %d, token %d: %s, not %s" %
                         (name, prompt, at, i, got.get((at, i)), lp))
    want = case["greedy32"]
    first = len(case["ids"]) - 1
    made = [int(r["id"]) for r in rows("-n", "32", "--greedy", "--f32",
            "--logprobs", "1", model, prompt)][first:first + len(want)]
    if made != want:
        sys.exit("%s: '%s': %s, not %s" % (name, prompt, made, want))
END

"$python" ask.py "$golden" sq-ref-7m "$model"
[ -d "$shared/models/sq-ref-88m" ] || exit 0
"$python" ask.py "$golden" sq-ref-88m "$shared/models/sq-ref-88m"
