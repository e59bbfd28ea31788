#!/bin/bash
# `make install' into a directory: the tools run from there, and a program is
# built against the headers with pkg-config, with either library.
set -eu -o pipefail
. "$(dirname "$0")/lib.sh"
[ -z "${SQ_ASAN-}" ] || skip "a sanitizer build is not for installing"
command -v make >/dev/null || skip "no make"

dest=$tmp/root
make -s -C "$root" -o all install B="$build" DESTDIR="$dest" PREFIX=/usr \
    >log 2>&1 || fail "$(tail -5 log)"
cd "$dest/usr"
for t in "$build"/bin/*; do
	[ -x "bin/${t##*/}" ] || fail "${t##*/} is not installed"
done
for p in "$root"/man/*.[157]; do
	[ -s "share/man/man${p##*.}/${p##*/}" ] || fail "${p##*/}: not there"
done
for t in bin/sq-*; do
	"$t" -V >/dev/null
	t=${t##*/}
	ls share/man/man1/"$t".1 >/dev/null 2>&1 || fail "$t has no man page"
done
bin/sq-rtn -m "$tiny" | bin/sq-pack -o "$tmp/a.sqa"
bin/sq-verify -q "$tmp/a.sqa"
[ -L lib/libsq.so ] && [ -L lib/libsq.so.0 ] || fail "$(ls lib)"
grep -rq "$dest" lib/pkgconfig && fail "DESTDIR is in the pkg-config file"

# A program of somebody else's.
cd "$tmp"
cat >use.c <<'END'
#include <stdio.h>
#include <model/source.h>

int
main(int argc, char *argv[])
{
	char err[SQ_ERR];
	struct sq_source *s = sq_source_open(argv[argc - 1], err);

	printf("%zu\n", s == NULL ? 0 : s->n);
	sq_source_close(s);
	return 0;
}
END
if command -v pkg-config >/dev/null; then
	export PKG_CONFIG_PATH=$dest/usr/lib/pkgconfig
	export PKG_CONFIG_SYSROOT_DIR=$dest
	[ "$(pkg-config --modversion sq)" = "$(sq-ls -V | cut -d ' ' -f 2)" ] ||
	    fail "pkg-config: version $(pkg-config --modversion sq)"
	cflags=$(pkg-config --cflags sq)
	libs=$(pkg-config --libs sq)
	all=$(pkg-config --libs --static sq)
else
	cflags=$(sed -n 's/^Cflags: //p' "$dest/usr/lib/pkgconfig/sq.pc")
	libs=$(sed -n 's/^Libs: //p' "$dest/usr/lib/pkgconfig/sq.pc")
	all="$libs $(sed -n 's/^Libs.private: //p' \
	    "$dest/usr/lib/pkgconfig/sq.pc")"
	cflags=${cflags//'${prefix}'/$dest/usr}
	libs=${libs//'${prefix}'/$dest/usr}
	all=${all//'${prefix}'/$dest/usr}
fi
cc=${CC:-gcc}
$cc -Wall -Wextra -Werror $cflags -o shared use.c $libs
LD_LIBRARY_PATH=$dest/usr/lib ./shared "$tiny" | grep -qx 21
LD_LIBRARY_PATH=$dest/usr/lib ldd ./shared >needs
grep -q "libsq.so.0 => $dest" needs || fail "$(cat needs)"
$cc -Wall -Wextra -Werror $cflags -o static use.c \
    "$dest/usr/lib/libsq.a" ${all/-lsq/}
./static "$tiny" | grep -qx 21
ldd ./static >needs
grep -q libsq needs && fail "not static"

# Every header stands alone, in C and in C++ where there is one.
for h in $(cd "$dest/usr/include/sq" && find . -name '*.h'); do
	printf '#include <%s>\n' "${h#./}" >one.c
	$cc -std=gnu11 -D_GNU_SOURCE -fsyntax-only $cflags one.c ||
	    fail "${h#./} does not stand alone"
done
make -s -C "$root" uninstall B="$build" DESTDIR="$dest" PREFIX=/usr
left=$(find "$dest" -type f -o -type l)
[ -z "$left" ] || fail "left by uninstall: $left"
