"""A damaged model is refused, every bit of it, and a made-up one cannot do more than be refused."""

import json
import re
import tracemalloc
from hashlib import sha256

import numpy as np
import pytest
from safetensors.numpy import save_file

import fastbp as fb

ZEROS = "0" * 64
DAMAGED = r"\[load\] '.*net.safetensors' is damaged"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.fixture
def good(path):
    """The bytes of a small net with its state."""
    net = fb.MLP((2, 3, 1), loss=fb.Huber(2.0), activation="tanh", seed=0)
    history = net.fit([[0.0, 1.0], [1.0, 0.0]], [1.0, 2.0], epochs=3, seed=0)
    fb.save(net, path, state=history.state)
    return path.read_bytes()


def refused(path, raw, says=DAMAGED):
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=says):
        fb.load(path, with_state=True)


def test_every_truncation_is_refused(path, good):
    assert len(good) < 2048
    for length in range(len(good)):
        refused(path, good[:length])
    for more in (b"\0", b" ", b"}", good):
        refused(path, good + more)


def test_every_flipped_bit_and_byte_is_refused(path, good):
    for place in range(len(good)):
        for change in (*(1 << bit for bit in range(8)), 0xFF):
            refused(path, b"".join((good[:place], bytes([good[place] ^ change]), good[place + 1 :])))


def parts(raw):
    """The header as the length of its JSON and the JSON, and the data."""
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), raw[end:]


def test_the_message_says_what_is_damaged(path, good):
    header, data = parts(good)
    begin = len(good) - len(data)
    for name, tensor in header.items():
        if name != "__metadata__":
            first, last = tensor["data_offsets"]
            for place in (begin + first, begin + last - 1):
                damaged = bytearray(good)
                damaged[place] ^= 1
                refused(path, damaged, rf"{DAMAGED}: {name} differs from its checksum")
    damaged = bytearray(good)
    damaged[begin - 1] ^= 1
    refused(path, damaged, rf"{DAMAGED}: its header differs from its checksum")
    refused(path, good[:-1], rf"{DAMAGED}: {len(good) - 1} bytes do not fit its header")
    refused(path, good[:100], rf"{DAMAGED}: it has 100 bytes, its header alone would have {begin}")


def test_files_of_others_are_refused(path):
    save_file({"weights.0": np.zeros((2, 3), np.float32)}, path, {"format": "np"})
    with pytest.raises(ValueError, match="was not written by fastbp: its header has no checksum"):
        fb.load(path)
    refused(path, b"")
    refused(path, b"PK\3\4" + bytes(1000))


def sealed(header, data, text=None):
    """A file with a header of one's own and the right checksums."""
    encoded = (text or json.dumps(header, separators=(",", ":"))).encode()
    encoded += b" " * (-len(encoded) % 8)
    raw = len(encoded).to_bytes(8, "little") + encoded
    return raw.replace(ZEROS.encode(), sha256(raw).hexdigest().encode(), 1) + data


def described(header):
    """The description in a header, its own checksum blank."""
    description = json.loads(header["__metadata__"]["fastbp"])
    description["sha256"]["header"] = ZEROS
    return description


def rewritten(good, change):
    """The good file after `change(description, header)`, with right checksums of the header and of all tensors."""
    header, data = parts(good)
    description = described(header)
    data = change(description, header) or data
    for name, tensor in header.items():
        match tensor.get("data_offsets"), description.get("sha256"):
            case [int(first), int(last)], {} as checksums if first >= 0:
                checksums[name] = sha256(data[first:last]).hexdigest()
    header["__metadata__"] = {"fastbp": json.dumps(description, separators=(",", ":"))}
    return sealed(header, data)


def test_the_checksums_are_as_they_are_described(good):
    assert rewritten(good, lambda description, header: None) == good


HUGE = [2**31 - 1, 2**31 - 1, 1], [2**22, 2**22, 1]
OFFSETS = {
    "beyond": [156, 160], "negative": [-4, 8], "backwards": [12, 0], "overlapping": [4, 16], "gap": [0, 8],
    "huge": [0, 2**63], "more": [0, 2**64 - 1], "beyond 64 bits": [0, 2**70], "fractional": [0.5, 12],
    "text": ["0", "12"], "one": [0], "empty": [],
}  # fmt: skip
HOSTILE = {
    **{f"offsets {name}": lambda d, h, o=o: h["biases.0"].update(data_offsets=o) for name, o in OFFSETS.items()},
    **{
        f"shape {shape}": lambda d, h, shape=shape: h["weights.0"].update(shape=shape)
        for shape in ([3, 2], [6], [2, 3, 1], [-2, -3], [2**62, 4], [2**64 - 1, 0], [2**64, 0], [], [6, 2**60], "23")
    },
    **{
        f"dtype {dtype}": lambda d, h, dtype=dtype: h["weights.0"].update(dtype=dtype)
        for dtype in ("F64", "I32", "BF16", "F8_E4M3", "C64", "object", "", 3)
    },
    **{
        f"{form['dtype']} of the same bytes": lambda d, h, form=form: h["biases.1"].update(form)
        for form in (
            {"dtype": "I32"}, {"dtype": "BF16", "shape": [2]}, {"dtype": "F16", "shape": [2]},
            {"dtype": "F8_E4M3", "shape": [4]}, {"dtype": "F4", "shape": [8]}, {"dtype": "BOOL", "shape": [4]},
        )
    },
    "tensor of no numbers": lambda d, h: h.update(empty={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}),
    "tensor missing": lambda d, h: h.pop("biases.0") and None,
    "tensor renamed": lambda d, h: h.update({"weights.2": h.pop("weights.1")}),
    "tensor without offsets": lambda d, h: h["biases.0"].pop("data_offsets") and None,
    "no tensors": lambda d, h: [h.pop(name) for name in list(h) if name != "__metadata__"] and b"\0",
    "tensors swapped": lambda d, h: h.update({"moments.0": h["weights.0"], "weights.0": h["moments.0"]}),
    **{f"format {x}": lambda d, h, x=x: d.update(format=x) for x in (0, 2, "1", None, [])},
    **{f"{key} missing": lambda d, h, key=key: d.pop(key) and None for key in ("format", "fastbp", "net")},
    "no checksums": lambda d, h: d.pop("sha256") and None,
    "checksums are a list": lambda d, h: d.update(sha256=[{"sha256": {"header": ZEROS}}]),
    **{
        f"net: {key} {x}"[:60]: lambda d, h, key=key, x=x: d["net"].update({key: x})
        for key, values in {
            "layer_sizes": (*HUGE, [2, 3], [2, 1, 3], [2], [], [0, 3], [2, 3.0, 1], "231", None, 2**70, [2**70, 3]),
            "loss": ("mse", 3, {"Adam": {}}, {"Huber": {}, "Pinball": {}}, {"Huber": {"delta": -1}}, {}, [], True),
            "activations": (["tanh"], ["tanh"] * 3, ["softmax", "tanh"], [["tanh", 1.0], "exp"], [], None, [{}, 1]),
            "dtype": ("float64", "float16", "O", "S2147483647", None, ["float32"], {"names": ["a"]}),
            "l2": (-1, "1", int("9" * 400), None, [1]),
            "l1": (float("nan"),),
            "dropout": ([1.5], [0.1, 0.1], None, "0.5"),
            "init": ("zeros",),
            "unknown": (None,),
        }.items()
        for x in values
    },
    **{
        f"state: {key} {x}"[:60]: lambda d, h, key=key, x=x: d["state"].update({key: x})
        for key, values in {
            "optimizer": ({}, "Adam", None, {"SGD": {}}, {"MLP": {}}, {"Huber": {}}, {"Adam": {"lr": -1}}, {"Adam": 3}),
            "step": (-1, 1.5, None, "3"),
            "epoch": (-1,),
            "seed": (-1, 0.5),
        }.items()
        for x in values
    },
    "net is a list": lambda d, h: d.update(net=[1]),
    "state is null": lambda d, h: d.update(state=None),
    "state is a text": lambda d, h: d.update(state="state"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_made_up_files_are_refused(path, good, name):
    raw = rewritten(good, HOSTILE[name])
    assert raw != good
    tracemalloc.start()
    try:
        refused(path, raw, r"^\[load\] '.*net.safetensors'")
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", [2**16, 2**31, 2**32 - 8, 2**60, 2**63 - 8, 2**63, 2**64 - 8, 2**64 - 1])
def test_a_header_that_claims_to_be_huge(path, good, length):
    tracemalloc.start()
    try:
        refused(path, length.to_bytes(8, "little") + good[8:], rf"{DAMAGED}: it has .* bytes, its header alone")
        assert tracemalloc.get_traced_memory()[1] < 10**6
    finally:
        tracemalloc.stop()


SEAL = r'{\"sha256\":{\"header\":\"' + ZEROS + r"\"}}"


@pytest.mark.parametrize(
    "text",
    [
        SEAL,
        '{"__metadata__":{"fastbp":"' + SEAL + '"}}',
        '{"__metadata__":{"other":"' + SEAL + '"}}',
        '{"__metadata__":["' + SEAL + '"]}',
        '{"__metadata__":{"fastbp":"' + "[" * 100_000 + SEAL + '"}}',
        "[" * 100_000 + '"' + SEAL + '"',
        '{"__metadata__":{"fastbp":"' + SEAL + '"},"\ud800":1}',
    ],
    ids=range(7),
)  # fmt: skip
def test_headers_that_are_no_description(path, text):
    encoded = text.encode("utf-8", "surrogatepass").decode("latin-1") if "\ud800" in text else text
    refused(path, sealed(None, b"", encoded), r"^\[load\] '.*net.safetensors' does not describe what it holds")


def test_a_second_checksum_is_refused(path, good):
    header, data = parts(good)
    description = json.dumps(described(header), separators=(",", ":"))
    header["__metadata__"]["fastbp"] = description[:-1] + ',"sha256":{"header":"' + "1" * 64 + '"}}'
    refused(path, sealed(header, data), "its header has no checksum")


def test_what_later_versions_add_is_no_obstacle(path, good):
    """Of the same format: others may describe more beside the net."""
    path.write_bytes(rewritten(good, lambda description, header: description.update(classes=["a", "b"], fastbp="9.9")))
    assert re.match(r"MLP\(\(2, 3, 1\)", repr(fb.load(path)))
