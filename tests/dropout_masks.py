"""The masks of dropout in NumPy: Philox4x32-10, written again from the paper (Salmon et al. 2011)."""

import numpy as np

M0, M1, W0, W1 = 0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85
LOW = np.uint64(0xFFFFFFFF)


def philox(c0, c1, c2, c3, key0, key1):
    """Philox4x32-10 written again from the paper, on uint64 arrays that hold 32-bit words."""
    c = [np.asarray(v, np.uint64) for v in (c0, c1, c2, c3)]
    for _ in range(10):
        p0, p1 = np.uint64(M0) * c[0], np.uint64(M1) * c[2]
        c = [
            (p1 >> np.uint64(32)) ^ c[1] ^ np.uint64(key0), p1 & LOW,
            (p0 >> np.uint64(32)) ^ c[3] ^ np.uint64(key1), p0 & LOW,
        ]  # fmt: skip
        key0, key1 = (key0 + W0) & 0xFFFFFFFF, (key1 + W1) & 0xFFFFFFFF
    return c


def factors(seed, step, layer, rows, units, rate):
    """Return the factors of a layer's outputs: 0, or 1 / keep."""
    keep = 1 - rate
    word = philox(np.arange(units)[None, :], np.asarray(rows)[:, None], step, layer, seed & 0xFFFFFFFF, seed >> 32)[0]
    return np.where(word <= int(keep * 4294967295.0), 1 / keep, 0.0)
