# Means of accuracy.csv over stretches and texts, in the order of the settings.
NR == 1 {
	print "setting", "bits_per_weight", "kl", "top1", "E"
	next
}
{
	if (!($1 in n))
		order[++rows] = $1
	n[$1]++
	bits[$1] += $3
	kl[$1] += $5
	top1[$1] += $6
	e[$1] += $7
}
END {
	for (i = 1; i <= rows; i++) {
		r = order[i]
		print r, sprintf("%.4f", bits[r] / n[r]),
		    sprintf("%.6f", kl[r] / n[r]),
		    sprintf("%.6f", top1[r] / n[r]), sprintf("%.6f", e[r] / n[r])
	}
}
