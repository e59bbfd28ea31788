# Lines of accuracy.csv: the evaluation of an artifact beside the original's.
{ sub(/\r$/, "") }
FNR == 1 {
	for (i = 1; i <= NF; i++)
		at[$i] = i
	file++
	next
}
file == 1 {
	nll[$at["text"]] = $at["nll"]
	ppl[$at["text"]] = $at["ppl"]
	next
}
{
	text = $at["text"]
	print row, skip, bits, text, $at["kl"], $at["top1"],
	    sprintf("%.6f", $at["nll"] - nll[text]), $at["ppl"], ppl[text]
}
