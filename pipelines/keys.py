# Rows of keys.csv from the items of each run (sq-eval --items) and the blocks
# that its log says were seen.  The first run is what the others are held to.
import csv
import re
import sys

print("keys,seen,task,tokens,asked,right,lost,won")
first = {}
for path in sys.argv[1:]:
    rows = list(csv.DictReader(open(path)))
    keys = re.search(r" attention=(\S+)", rows[0]["settings"]).group(1)
    log = re.search(r"blocks of keys seen, ([\d.]+)", open(
        path + ".log").read())
    for task in sorted({r["task"] for r in rows}) + ["all"]:
        of = [r for r in rows if task in (r["task"], "all")]
        tokens = [int(r["tokens"]) for r in of]
        right = {(r["task"], r["item"]): float(r["value"]) == 1 for r in of}
        base = first.setdefault(task, right)
        print(keys, log.group(1) if log else "1" if keys == "all" else "",
              task.removesuffix(".jsonl"),
              "%d-%d" % (min(tokens), max(tokens)), len(of),
              sum(right.values()),
              sum(base[i] and not right[i] for i in right),
              sum(right[i] and not base[i] for i in right), sep=",")
