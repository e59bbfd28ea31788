# Files as C: a table that lib/schema/presets.h declares.
BEGIN {
	print "#include \"schema/presets.h\"\n"
	printf "const struct sq_preset %s[] = {\n", table
}
FNR == 1 {
	if (open)
		print "\t},"
	name = FILENAME
	sub(/.*\//, "", name)
	sub(/\.yaml$/, "", name)
	printf "\t{ \"%s\",\n", name
	open = 1
}
{
	gsub(/\\/, "\\\\")
	gsub(/"/, "\\\"")
	printf "\t    \"%s\\n\"\n", $0
}
END {
	if (open)
		print "\t},"
	print "\t{ 0, 0 }\n};"
}
