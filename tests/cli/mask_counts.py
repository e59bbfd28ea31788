"""What products of the masked tensors of a stream must read and multiply,
counted from the bits of their masks as sq-stream(5) has them.

    mask_counts.py STREAM       prints "BYTES DENSE_BYTES DONE ALL"

DONE and ALL are the weights of N:M, or the blocks, that are kept, and that
there are.  Bytes are values, index and scales of the layouts in sqa(5), of
shapes that leave nothing to be filled up.
"""
import json
import struct
import sys

data = open(sys.argv[1], "rb").read()
at = read = dense = done = all_ = 0
while at < len(data):
    kind, flags, length, size = struct.unpack_from("<HHIQ", data, at + 8)
    assert flags == 0, "a compressed record"
    said = json.loads(data[at + 64:at + 64 + length])
    payload = at + (64 + length + 63) // 64 * 64
    at = payload + (size + 8 + 63) // 64 * 64
    if kind != 3 or "sparsity" not in said:
        continue
    rows, cols = said["shape"]
    part = {p["part"]: p for p in said["parts"]}
    bits = 8 * part["codes"]["length"] // (rows * cols)
    start = payload + part["mask"]["offset"]
    kept = data[start:start + part["mask"]["length"]]
    assert len(kept) * 8 == rows * cols
    scales = sum(part[p]["length"] for p in ("scales", "zeros") if p in part)
    dense += part["codes"]["length"] + scales
    if ":" in said["sparsity"]:
        assert said["sparsity"] == "2:4"
        n = sum(bin(b).count("1") for b in kept)
        all_ += rows * cols
        read += n * (bits + 2) // 8
    else:
        r, c = map(int, said["sparsity"].split("x"))
        assert rows % r == cols % c == 0 and c % 8 == 0
        row, wide = cols // 8, c // 8           # bytes
        n = sum(any(any(kept[i * row + left:i * row + left + wide])
                    for i in range(top, top + r))
                for top in range(0, rows, r) for left in range(0, row, wide))
        blocks = rows // r * (cols // c)
        all_ += blocks
        read += n * r * c * bits // 8 + 4 * (rows // r + 1) + 2 * n
        scales = scales * n // blocks
    done += n
    read += scales
print(read, dense, done, all_)
