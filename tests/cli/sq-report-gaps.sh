#!/bin/bash
# Reports: the figures that come out, and what a bad file does to them.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"

cat >e.csv <<'END'
model,text,protocol,tokens,nll,nll_stderr,ppl,kl,top1
dir/base,a.txt,windows,100,2,0.1,8,0,1
dir/base,b.txt,windows,100,2,0.1,2,0,1
x/w4.sqa,a.txt,windows,100,2,0.1,9,0.01,0.9
x/w4.sqa,b.txt,windows,100,2,0.1,2,0.03,0.8
END
cat >b.csv <<'END'
model,batch,prompt,generate,metric,value,unit
dir/base/,1,512,64,ttft,100,ms
dir/base/,4,512,64,ttft,900,ms
dir/base/,1,512,64,throughput,50,tok/s
dir/base/,4,512,64,throughput,100,tok/s
w4.sqa,1,512,64,ttft,70,ms
w4.sqa,4,512,64,throughput,200,tok/s
END
sq-report --csv t.csv --html t.html --markdown t.md --svg plots e.csv b.csv \
    >table
for want in base,ppl,4, w4,ppl,4.24264069, w4,kl,0.02,nats w4,top1,85,% \
    base,ttft,100,ms w4,ttft,70,ms w4,throughput,200,tok/s; do
	grep -qxF "$want" t.csv || fail "no $want: $(cat t.csv)"
done
[ "$(sed -n 2p t.csv | cut -d, -f1)" = base ] || fail "$(cat t.csv)"
grep -q '^throughput .*200 (+100.0 %) +$' table || fail "$(cat table)"
grep -q '^perplexity .*(+6.1 %) !$' table || fail "$(cat table)"
grep -q '^TTFT .*(-30.0 %) +$' table || fail "$(cat table)"
grep -q '<svg' t.html || fail "no plot"
grep -q 'http' t.html && ! grep -o 'http[^"]*' t.html |
    grep -qvx 'http://www.w3.org/2000/svg' || fail "the page needs the network"
grep -q '^| perplexity' t.md || fail "$(cat t.md)"

# Another baseline; names that would be markup.
sq-report --baseline w4 e.csv b.csv >table
head -1 table | grep -q ' w4  *base$' || fail "$(head -1 table)"
sed 's,dir/base,<b>\&amp,' e.csv >m.csv
sq-report --html t.html m.csv >/dev/null
grep -q '<b>&amp' t.html && fail "markup from a name"

# A price.
printf 'per_hour,currency\n3.6,EUR\n' >price.csv
sq-report --price price.csv --csv t.csv b.csv >/dev/null
grep -qxF 'w4,cost,5,per Mtok' t.csv || fail "$(cat t.csv)"

# Bad files are named, and the rest is there.
printf 'model,batch,prompt,generate,metric,value,unit\nw4,1,5,6,ttft,1,s\n' \
    >units.csv
printf 'model,text,ppl,nll\nw4,a,many,1\n' >words.csv
printf 'a,b\n1,2\n' >other.csv
printf 'model,text,ppl,nll\nw4,a\n' >short.csv
: >empty.csv
for bad in units words other short empty absent; do
	rm -f t.csv
	exits 1 sq-report --csv t.csv e.csv b.csv $bad.csv
	last_says sq-report "$bad.csv"
	grep -q "^missing: .*$bad.csv" out || fail "$(cat out)"
	grep -qxF base,ppl,4, t.csv || fail "$(cat t.csv)"
done
exits 1 sq-report empty.csv
exits 1 sq-report --baseline none --csv t.csv --html t.html e.csv
last_says sq-report "baseline 'none'"
grep -q "^missing: .*baseline 'none'" out || fail "$(cat out)"
head -1 out | grep -q ' none  *base  *w4$' || fail "$(head -1 out)"
grep '^perplexity' out | grep -q ' - .* 4 ?.* 4.243 ?$' || fail "$(cat out)"
grep -qxF w4,ppl,4.24264069, t.csv || fail "$(cat t.csv)"
grep -q "Missing: .*none" t.html || fail "no gap on the page"
exits 1 sq-report --price e.csv b.csv
exits 2 sq-report
mkdir full
exits 1 sq-report --html full/absent/x.html e.csv
absent full/absent
