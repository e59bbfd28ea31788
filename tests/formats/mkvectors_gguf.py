#!/usr/bin/env python3
"""Makes tests/formats/gguf/{good,bad}: GGUF files as other programs could have
written them, and hostile ones.  bad/EXPECT has a line for each: its name and
what the reason must contain.

usage: mkvectors_gguf.py tests/formats/gguf
"""
import os
import struct
import sys

F32, F16, Q4_0, Q8_0, Q4_K = 0, 1, 2, 8, 12
U8, I8, U16, I16, U32, I32, FLT, BOOL, STR, ARR, U64, I64, DBL = range(13)
SIZES = {U8: '<B', I8: '<b', U16: '<H', I16: '<h', U32: '<I', I32: '<i',
         FLT: '<f', BOOL: '<B', U64: '<Q', I64: '<q', DBL: '<d'}
BLOCK = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18), Q8_0: (32, 34),
         Q4_K: (256, 144)}


def text(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack('<Q', len(s)) + s


def value(kind, v):
    return text(v) if kind == STR else struct.pack(SIZES[kind], v)


def kv(key, kind, v):
    return text(key) + struct.pack('<I', kind) + value(kind, v)


def arr(key, kind, vs, n=None):
    n = len(vs) if n is None else n
    return (text(key) + struct.pack('<IIQ', ARR, kind, n) +
            b''.join(value(kind, v) for v in vs))


def info(name, ne, kind, offset):
    return (text(name) + struct.pack('<I', len(ne)) +
            b''.join(struct.pack('<Q', n) for n in ne) +
            struct.pack('<IQ', kind, offset))


def nbytes(ne, kind):
    n = 1
    for d in ne:
        n *= d
    per, size = BLOCK[kind]
    return n // per * size


def pad(b, align):
    return b + bytes(-len(b) % align)


def head(nt, nkv, version=3, magic=b'GGUF'):
    return magic + struct.pack('<IQQ', version, nt, nkv)


def whole(kvs, tensors, align=32, version=3, cut=0, tail=b''):
    """tensors: (name, ne, type) with their data made up."""
    infos, data = b'', b''
    for i, (name, ne, kind) in enumerate(tensors):
        data = pad(data, align)
        infos += info(name, ne, kind, len(data))
        data += bytes((7 * i + j) % 120 for j in range(nbytes(ne, kind)))
    out = pad(head(len(tensors), len(kvs), version) + b''.join(kvs) + infos,
              align) + data
    return out[:len(out) - cut] + tail


KEYS = [kv('general.architecture', STR, 'none'), kv('a.u8', U8, 200),
        kv('a.i8', I8, -3), kv('a.u16', U16, 65535), kv('a.i16', I16, -1),
        kv('a.u32', U32, 4294967295), kv('a.i32', I32, -5),
        kv('a.f32', FLT, 0.5), kv('a.bool', BOOL, 1),
        kv('a.u64', U64, 1 << 40), kv('a.i64', I64, -7),
        kv('a.f64', DBL, 0.25), arr('a.strings', STR, ['x', '', 'yz']),
        arr('a.floats', FLT, [1, 2]), arr('a.none', I32, [])]
ONE = [('w', (32,), F32)]


def good():
    yield 'v3.gguf', whole(KEYS, [
        ('f', (3,), F32), ('h', (5, 2), F16), ('q', (64, 3), Q4_0),
        ('e', (32, 2), Q8_0), ('k', (256, 2), Q4_K)])
    yield 'v2.gguf', whole(KEYS[:2], ONE, version=2)
    yield 'align.gguf', whole([kv('general.alignment', U32, 64)],
                              [('a', (3,), F32), ('b', (3,), F32)], align=64)
    yield 'padded.gguf', whole(KEYS[:1], ONE, tail=bytes(32))
    yield 'empty.gguf', whole([], [])


def bad():
    arch = KEYS[0]
    start = head(1, 0)
    yield 'magic', whole([], ONE).replace(b'GGUF', b'GGUX', 1), 'not a GGUF'
    yield 'short', b'GGUF\3\0\0\0', 'not a GGUF'
    yield 'version', whole([], ONE, version=4), 'version'
    yield 'big-endian', b'GGUF' + struct.pack('>IQQ', 3, 0, 0), 'version'
    yield 'many-keys', head(0, 1 << 62) + arch, 'more keys'
    yield 'many-tensors', head(1 << 62, 0) + bytes(64), 'more keys'
    yield 'key-cut', head(0, 1) + struct.pack('<Q', 1 << 63) + b'x' * 20, 'key'
    yield 'key-empty', head(0, 1) + kv('', U8, 1) + bytes(9), 'key'
    yield 'key-space', head(0, 1) + kv('a b', U8, 1), 'key'
    yield 'key-twice', head(0, 2) + kv('a', U32, 1) * 2, 'twice'
    yield 'value-type', head(0, 1) + text('a') + struct.pack('<IQ', 13, 0), \
        "'a'"
    yield 'value-cut', head(0, 1) + text('abcd') + struct.pack('<IH', U64, 0), \
        "'abcd'"
    yield 'array-long', head(0, 1) + arr('a', U64, [1], 1 << 61), "'a'"
    yield 'array-strings', head(0, 1) + arr('a', STR, ['x'], 1 << 60), "'a'"
    yield 'array-string-cut', head(0, 1) + arr('a', STR, ['x'], 2) + \
        struct.pack('<Q', (1 << 64) - 8), "'a'"
    yield 'array-nested', head(0, 1) + text('a') + struct.pack(
        '<IIQ', ARR, ARR, 1) + struct.pack('<IQ', ARR, 1) * 50, "'a'"
    yield 'name-long', start + info('n' * 64, (1,), F32, 0) + bytes(64), 'name'
    yield 'name-path', start + info('../x', (1,), F32, 0) + bytes(64), 'name'
    yield 'name-zero', start + info(b'a\0b', (1,), F32, 0) + bytes(64), 'name'
    yield 'no-dims', start + info('w', (), F32, 0) + bytes(64), 'dimensions'
    yield 'five-dims', start + info('w', (1,) * 5, F32, 0) + bytes(64), \
        'dimensions'
    yield 'zero-dim', start + info('w', (4, 0), F32, 0) + bytes(64), \
        'dimensions'
    yield 'product', start + info('w', (1 << 31, 1 << 31, 4, 1), F32, 0) + \
        bytes(64), 'dimensions'
    yield 'type', start + info('w', (32,), 10, 0) + bytes(64), 'type 10'
    yield 'row', start + info('w', (33, 2), Q4_0, 0) + bytes(64), 'blocks'
    yield 'offset', pad(start + info('w', (8,), F32, 32), 32) + bytes(64), \
        'before ends'
    yield 'offset-huge', pad(start + info('w', (8,), F32, (1 << 64) - 32),
                             32) + bytes(64), 'before ends'
    yield 'overlap', pad(head(2, 0) + info('a', (8,), F32, 0) + info(
        'b', (8,), F32, 0), 32) + bytes(64), 'before ends'
    yield 'beyond', whole([], [('w', (64, 8), F32)], cut=4), 'beyond'
    yield 'infos-cut', head(1, 0) + info('w' * 8, (8,), F32, 0)[:-3], 'cut off'
    yield 'tensor-twice', whole([], [('w', (8,), F32)] * 2), 'twice'
    yield 'alignment', whole([kv('general.alignment', U32, 48)], ONE), \
        'alignment'
    yield 'alignment-zero', whole([kv('general.alignment', U32, 0)], ONE), \
        'alignment'
    yield 'alignment-string', whole([kv('general.alignment', STR, '32')],
                                    ONE), 'alignment'


def main():
    out = sys.argv[1]
    for d in 'good', 'bad':
        os.makedirs(os.path.join(out, d), exist_ok=True)
    for name, data in good():
        with open(os.path.join(out, 'good', name), 'wb') as f:
            f.write(data)
    expect = ''
    for name, data, reason in bad():
        with open(os.path.join(out, 'bad', name + '.gguf'), 'wb') as f:
            f.write(data)
        expect += '%s.gguf\t%s\n' % (name, reason)
    with open(os.path.join(out, 'bad', 'EXPECT'), 'w') as f:
        f.write(expect)


if __name__ == '__main__':
    main()
