# The lines of sq-eval -t for the shards of texts, as CSV, become one line for
# each model and text: means weighted by tokens, with the standard error and the
# chance that the whole would give; see sq-metrics(7).

# exp(-x^2) times a rational approximation whose relative error is below 2e-7.
function erfc(x,	t, y) {
	t = 1 / (1 + .5 * x)
	y = t * exp(-x * x - 1.26551223 + t * (1.00002368 + t * (.37409196 + \
	    t * (.09678418 + t * (-.18628806 + t * (.27886807 + \
	    t * (-1.13520398 + t * (1.48851587 + t * (-.82215223 + \
	    t * .17087277)))))))))
	return y
}

# Adds a mean with its standard error, which is sqrt(variance / (n - 1)).
function add(key, name, se, n) {
	if (field(name) == "")
		return
	sum[key, name] += n * field(name)
	sum2[key, name] += n * (field(se) ^ 2 * (n - 1) + field(name) ^ 2)
	has[key, name] = 1
}

function field(name) {
	return $(column[name])
}

function mean(key, name) {
	return has[key, name] ? sum[key, name] / tokens[key] : ""
}

function stderror(key, name,	m, v) {
	if (!has[key, name] || tokens[key] < 2)
		return ""
	m = mean(key, name)
	v = sum2[key, name] / tokens[key] - m * m
	return sqrt((v > 0 ? v : 0) / (tokens[key] - 1))
}

function show(v, format) {
	return v == "" ? "" : sprintf(format, v)
}

BEGIN {
	FS = OFS = ","
	single = split("top1 lost won top5 flips", plain, " ")
}

FNR == 1 {
	if (NR > 1 && $0 != header) {
		print "shards: " FILENAME ": another header" >"/dev/stderr"
		bad = 1
		exit
	}
	header = $0
	for (i = 1; i <= NF; i++)
		column[$i] = i
	next
}

{
	key = $1 SUBSEP $2
	if (!(key in tokens)) {
		order[++keys] = key
		first[key] = $0
	}
	n = field("tokens")
	tokens[key] += n
	add(key, "nll", "nll_stderr", n)
	add(key, "kl", "kl_stderr", n)
	add(key, "delta", "delta_stderr", n)
	for (i = 1; i <= single; i++)
		if (field(plain[i]) != "") {
			sum[key, plain[i]] += n * field(plain[i])
			has[key, plain[i]] = 1
		}
}

END {
	if (bad)
		exit 1
	print header
	for (k = 1; k <= keys; k++) {
		key = order[k]
		$0 = first[key]
		se = stderror(key, "delta")
		d = mean(key, "delta")
		$(column["tokens"]) = tokens[key]
		$(column["nll"]) = show(mean(key, "nll"), "%.7f")
		$(column["nll_stderr"]) = show(stderror(key, "nll"), "%.7f")
		$(column["ppl"]) = show(exp(mean(key, "nll")), "%.6f")
		$(column["kl"]) = show(mean(key, "kl"), "%.8f")
		$(column["kl_stderr"]) = show(stderror(key, "kl"), "%.8f")
		$(column["delta"]) = show(d, "%.8f")
		$(column["delta_stderr"]) = show(se, "%.8f")
		$(column["p"]) = d == "" ? "" : show(se == 0 ? d == 0 : \
		    erfc((d < 0 ? -d : d) / se / sqrt(2)), "%.4g")
		for (i = 1; i <= single; i++)
			$(column[plain[i]]) = show(mean(key, plain[i]), \
			    plain[i] ~ /top1/ ? "%.6f" : "%.8f")
		print
	}
}
