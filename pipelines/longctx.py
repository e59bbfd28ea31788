# A row of longctx.csv from the answers of a run and its log.
import json
import re
import statistics
import sys

length, kv, log = sys.argv[1:]
log = open(log).read()
first, *rest = [json.loads(line) for line in sys.stdin]
ok = [r for r in rest if r["finish_reason"] != "error"]
tpot = [r["timings"]["tpot_ms"] for r in ok]
tenth = max(1, len(tpot) // 10)
m = re.search(r"([\d.]+) MB held at most, ([\d.]+) MB predicted", log)

tenths = [statistics.median(tpot[i:i + tenth])
          for i in range(0, len(tpot), tenth)]
print(",".join(str(x) for x in (
    length, kv, len(rest), len(rest) - len(ok),
    first["usage"]["prompt_tokens"],
    min((r["usage"]["reused_tokens"] for r in ok), default=0),
    "%.1f" % (first["timings"]["ttft_ms"] / 1e3),
    "%.1f" % statistics.median([r["timings"]["ttft_ms"] for r in ok]),
    "%.2f" % tenths[0], "%.2f" % tenths[-1],
    "%.3f" % (max(tenths) / min(tenths) - 1),
    m.group(1), m.group(2))))
