# Questions about texts, the texts made longer: lines of another text come
# between theirs.
#
#	longer.py TEXT FROM TO <rag.jsonl >longer.jsonl
#
# A prompt gets FROM to TO bytes, as many each as there are questions.  Its first
# line and what begins at "Question:" stay where they are.
import json
import sys

text, least, most = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hay = [s for s in open(text, encoding="utf-8").read().split("\n") if s]
items = [json.loads(s) for s in sys.stdin]
at = 0
for number, item in enumerate(items):
    head, rest = item["prompt"].split("\n", 1)
    body, question = rest.rsplit("\n\nQuestion:", 1)
    lines = body.split("\n")
    want = least + (most - least) * number // max(1, len(items) - 1)
    left = want - len(item["prompt"].encode())
    # as much before each line as after the last one
    out = []
    for i in range(len(lines) + 1):
        share = left // (len(lines) + 1 - i)
        while share > 0:
            out.append(hay[at % len(hay)])
            size = len(out[-1].encode()) + 1
            at += 1
            share -= size
            left -= size
        out += lines[i:i + 1]
    item["prompt"] = head + "\n" + "\n".join(out) + "\n\nQuestion:" + question
    item["ctx_chars"] = len(item["prompt"])
    print(json.dumps(item))
