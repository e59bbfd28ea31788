#!/usr/bin/env python3
"""Make tests/formats/safetensors: files and directories that the reader takes
(good/) and refuses (bad/), and bad/EXPECT with a part of the reason of each.

Usage: mkvectors_safetensors.py OUTDIR.  Run by hand when a case is added; the
vectors that exist never change.
"""
import json
import os
import struct
import sys

expect = {}


def put(path, data):
    path = os.path.join(sys.argv[1], path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def raw(header, data=b"", length=None):
    if isinstance(header, str):
        header = header.encode()
    n = len(header) if length is None else length
    return struct.pack("<Q", n) + header + data


def st(tensors, data=None):
    """tensors: name, dtype, shape, begin, end."""
    h = {n: {"dtype": d, "shape": s, "data_offsets": [b, e]}
         for n, d, s, b, e in tensors}
    if data is None:
        end = max([t[4] for t in tensors], default=0)
        data = bytes(i % 251 for i in range(end))
    return raw(json.dumps(h, separators=(",", ":")), data)


def index(weight_map, **other):
    return json.dumps({**other, "weight_map": weight_map}).encode()


def good(name, data):
    put("good/" + name, data)


def bad(name, why, data):
    put("bad/" + name, data)
    expect[name.split("/")[0]] = why


A = ("a", "F32", [2, 3], 0, 24)
ENTRY = '{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'


def make_good():
    good("one.safetensors", st([A]))
    good("empty.safetensors", raw("{}"))
    good("metadata-only.safetensors", raw('{"__metadata__":{"format":"pt"}}'))
    dtypes = ["F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "I64",
              "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"]
    sizes = [4, 2, 2, 1, 1, 1, 8, 4, 2, 1, 8, 4, 2, 1, 1]
    at, all_types = 0, []
    for d, n in zip(dtypes, sizes):
        all_types.append(("t." + d, d, [3], at, at + 3 * n))
        at += 3 * n
    good("dtypes.safetensors", st(all_types))
    good("scalar.safetensors", st([("s", "F32", [], 0, 4)]))
    good("four-dims.safetensors", st([("t", "I8", [1, 2, 3, 4], 0, 24)]))
    good("backwards.safetensors",
         st([("z", "U8", [5], 7, 12), ("y", "U8", [4], 3, 7),
             ("x", "U8", [3], 0, 3)]))
    good("unaligned.safetensors",
         st([("u", "U8", [3], 0, 3), ("f", "F32", [1], 3, 7)]))
    good("spaces.safetensors",
         raw('{ "a"\n:\t' + ENTRY.replace(":", " : ") + " }" + " " * 21, b"x"))
    good("utf8.safetensors",
         raw('{"\\u00e9\u00e9\\ud83d\\ude00\u6743":' + ENTRY + "}", b"x"))
    good("odd-names.safetensors",
         st([("", "U8", [1], 0, 1), ("a b/../c\n\"", "U8", [1], 1, 2)]))
    good("unknown-key.safetensors",
         raw('{"a":%s}' % ENTRY.replace("{", '{"x":{},'), b"x"))
    good("dir-one/model.safetensors", st([A]))
    good("dir-one/other.safetensors", b"not looked at")
    good("dir-other-name/weights.safetensors", st([A]))
    good("dir-shards/model-00001-of-00002.safetensors", st([A]))
    good("dir-shards/model-00002-of-00002.safetensors",
         st([("c", "U8", [2], 0, 2), ("b", "U8", [2], 2, 4)]))
    f1, f2 = ["model-0000%d-of-00002.safetensors" % k for k in (1, 2)]
    good("dir-shards/model.safetensors.index.json",
         index({"c": f2, "a": f1, "b": f2}, metadata={"total_size": 28}))
    good("dir-other-index/w-1.safetensors", st([A]))
    good("dir-other-index/w.safetensors.index.json",
         index({"a": "w-1.safetensors"}))


def bad_lengths():
    bad("zero-bytes.st", "too short", b"")
    bad("seven-bytes.st", "too short", bytes(7))
    bad("length-0.st", "less than '{}'", raw("", b"{}", 0))
    bad("length-1.st", "less than '{}'", raw("", b"{}", 1))
    bad("length-2e60.st", "more than the file has", raw("{}", b"", 1 << 60))
    bad("length-max.st", "more than the file has",
        raw("{}", b"", (1 << 64) - 1))
    bad("length-one-more.st", "more than the file has", raw("{}", b"", 3))
    bad("cut-in-header.st", "more than the file has", st([A])[:40])
    bad("cut-in-data.st", "ends at byte 24", st([A])[:-1])


def bad_json():
    bad("no-brace.st", "begin with '{'", raw(" {}"))
    bad("array.st", "begin with '{'", raw("[]"))
    bad("zeros.st", "begin with '{'", raw(bytes(64)))
    bad("open-brace.st", "byte 2", raw("{ "))
    bad("no-colon.st", "':' expected", raw('{"a" 1}'))
    bad("no-comma.st", "',' expected", raw('{"a":%s "b":1}' % ENTRY, b"x"))
    bad("last-comma.st", "byte", raw('{"a":%s,}' % ENTRY, b"x"))
    bad("first-comma.st", "byte", raw('{,"a":%s}' % ENTRY, b"x"))
    bad("number-key.st", "not a string", raw("{1:2}"))
    bad("trailing.st", "more after the end", raw('{"a":%s}x' % ENTRY, b"x"))
    bad("trailing-zero.st", "more after the end",
        raw('{"a":%s}\0' % ENTRY, b"x"))
    bad("utf8-name.st", "decode byte 0xff", raw(b'{"\xff":1}'))
    bad("utf8-overlong.st", "decode byte 0xc0", raw(b'{"\xc0\xaf":1}'))
    bad("utf8-surrogate.st", "surrogate", raw('{"\\ud800":1}'))
    bad("utf8-dtype.st", "decode byte 0xfe", raw(b'{"a":{"dtype":"\xfe"}}'))
    bad("zero-in-name.st", "\\u0000", raw('{"a\\u0000b":1}'))
    bad("deep.st", "depth", raw('{"a":' + "[" * 3000))
    bad("entry-number.st", "tensor 'a': not an object", raw('{"a":1}'))
    bad("key-twice.st", "duplicate", raw('{"a":{"dtype":"U8","dtype":"U8",'
        '"shape":[1],"data_offsets":[0,1]}}', b"x"))
    bad("twice.st", "overlap", raw('{"a":%s,"a":%s}' % (ENTRY, ENTRY), b"x"))
    bad("twice-apart.st", "tensor 'a' is there twice", raw('{"a":%s,"a":%s}'
        % (ENTRY, ENTRY.replace("0,1", "1,2")), b"xy"))
    bad("twice-escaped.st", "tensor 'a' is there twice", raw(
        '{"a":%s,"\\u0061":%s}' % (ENTRY, ENTRY.replace("0,1", "1,2")), b"xy"))
    bad("metadata-twice.st", "'__metadata__' is there twice",
        raw('{"__metadata__":{},"__metadata__":{}}'))
    bad("metadata-number.st", "not a string", raw('{"__metadata__":{"a":1}}'))
    bad("metadata-string.st", "'{' expected", raw('{"__metadata__":"pt"}'))
    bad("metadata-open.st", "expected", raw('{"__metadata__":{"a":"b"'))


def bad_entries():
    def entry(name, why, dtype='"U8"', shape="[2]", offsets="[0,2]",
              data=b"xy"):
        bad(name, "tensor 'a': " + why, raw('{"a":{"dtype":%s,"shape":%s,'
            '"data_offsets":%s}}' % (dtype, shape, offsets), data))
    entry("dtype-f64.st", "dtype 'F64' is not", '"F64"', "[1]", "[0,8]",
          bytes(8))
    entry("dtype-bits.st", "dtype 'BITS' is not", '"BITS"')
    entry("dtype-lower.st", "dtype 'u8' is not", '"u8"')
    entry("dtype-number.st", "'dtype' is not a string", "8")
    entry("shape-string.st", "'shape' is missing or not", shape='"2"')
    entry("shape-real.st", "'shape' holds", shape="[2.0]")
    entry("shape-negative.st", "'shape' holds", shape="[-2]")
    entry("shape-zero.st", "a dimension of zero", shape="[2,0]",
          offsets="[0,0]", data=b"")
    entry("shape-twenty.st", "20 dimensions", shape="[" + "1," * 19 + "2]")
    entry("shape-overflow.st", "a shape out of bounds",
          shape="[4294967296,4294967296]")
    entry("shape-overflow-size.st", "a shape out of bounds", '"F32"',
          "[4611686018427387904]")
    entry("shape-mismatch.st", "2 bytes of data for a shape of 3", shape="[3]")
    entry("offsets-one.st", "'data_offsets' is not", offsets="[0]")
    entry("offsets-three.st", "'data_offsets' is not", offsets="[0,1,2]")
    entry("offsets-real.st", "'data_offsets' is not", offsets="[0,2.0]")
    entry("offsets-object.st", "'data_offsets' is not", offsets="{}")
    entry("offsets-order.st", "'data_offsets' out of order", offsets="[2,0]")
    entry("offsets-negative.st", "'data_offsets' out of order",
          offsets="[-2,0]")
    entry("offsets-beyond.st", "ends at byte 4 of the data", offsets="[2,4]")
    entry("offsets-far.st", "ends at byte 9223372036854775807",
          offsets="[9223372036854775805,9223372036854775807]")
    bad("dtype-missing.st", "'dtype' is missing", raw('{"a":{}}'))
    bad("shape-missing.st", "'shape' is missing", raw('{"a":{"dtype":"U8"}}'))
    bad("offsets-missing.st", "'data_offsets' is not",
        raw('{"a":{"dtype":"U8","shape":[1]}}', b"x"))
    bad("integer-too-big.st", "too big", raw('{"a":{"dtype":"U8","shape":'
        '[18446744073709551616],"data_offsets":[0,1]}}', b"x"))
    bad("overlap.st", "tensors 'a' and 'b' overlap",
        st([("a", "U8", [4], 0, 4), ("b", "U8", [4], 3, 7)]))
    bad("hole-first.st", "1 bytes before tensor 'a'",
        st([("a", "U8", [4], 1, 5)]))
    bad("hole.st", "2 bytes before tensor 'b'",
        st([("a", "U8", [4], 0, 4), ("b", "U8", [4], 6, 10)]))
    bad("hole-last.st", "1 bytes at the end", st([A], bytes(25)))
    bad("hole-only.st", "8 bytes at the end", raw("{}", bytes(8)))


def bad_dirs():
    f1, f2 = "m-1.safetensors", "m-2.safetensors"
    name = "model.safetensors.index.json"
    b = [("b", "U8", [2], 0, 2)]

    def shards(d, why, text, t1=None, t2=None):
        bad(d + "/" + name, why, text)
        if t1 is not False:
            put("bad/%s/%s" % (d, f1), t1 or st([A]))
        if t2 is not False:
            put("bad/%s/%s" % (d, f2), t2 or st(b))
    both = {"a": f1, "b": f2}
    bad("dir-none/config.json", "no *.safetensors", b"{}")
    bad("dir-several/a.safetensors", "several *.safetensors and no index",
        st([A]))
    put("bad/dir-several/b.safetensors", st(b))
    bad("dir-indexes/a.safetensors.index.json", "several indexes", index(both))
    put("bad/dir-indexes/b.safetensors.index.json", index(both))
    shards("dir-shard-missing", "m-2.safetensors': No such", index(both),
           t2=False)
    shards("dir-shard-broken", "'m-2.safetensors': a header of", index(both),
           t2=b"x" * 9)
    shards("dir-twice", "tensor 'a' is in 'm-1.safetensors' and in 'm-2",
           index(both), t2=st([A]))
    shards("dir-not-in-shard", "tensor 'c' is not in 'm-2.safetensors'",
           index({**both, "c": f2}))
    shards("dir-in-another",
           "tensor 'b' is not in 'm-1.safetensors' but in 'm-2",
           index({"a": f1, "b": f1, "c": f2}),
           t2=st([("b", "U8", [2], 0, 2), ("c", "U8", [2], 2, 4)]))
    shards("dir-not-in-index", "tensor 'c' of 'm-2.safetensors' is missing",
           index(both), t2=st([("b", "U8", [2], 0, 2), ("c", "U8", [2], 2, 4)]))
    for d, f in (("up", "../x.safetensors"), ("absolute", "/etc/passwd"),
                 ("sub", "a/m.safetensors"), ("hidden", ".m.safetensors"),
                 ("dot", "."), ("empty", ""), ("control", "m\n.safetensors")):
        shards("dir-name-" + d, "is not a plain file name",
               index({"a": f}), False, False)
    shards("dir-index-json", "'model.safetensors.index.json': byte", b"{\"a\":")
    shards("dir-index-array", "'{' expected", b"[]")
    shards("dir-index-empty", "'weight_map' is missing", b"{}")
    shards("dir-index-no-map", "'weight_map' is missing", index({}))
    shards("dir-index-map-array", "'{' expected", b'{"weight_map":[]}')
    shards("dir-index-number", "not a string", b'{"weight_map":{"a":1}}')
    shards("dir-index-map-twice", "'weight_map' is there twice",
           b'{"weight_map":{},"weight_map":{}}')
    shards("dir-index-name-twice", "tensor 'a' is there twice",
           b'{"weight_map":{"a":"m-1.safetensors","a":"m-1.safetensors"}}',
           t2=False)
    shards("dir-index-trailing", "more after the end", index(both) + b"{}")


make_good()
bad_lengths()
bad_json()
bad_entries()
bad_dirs()
put("bad/EXPECT", "".join("%s\t%s\n" % (k, expect[k])
                          for k in sorted(expect)).encode())
