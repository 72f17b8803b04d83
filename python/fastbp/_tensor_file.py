"""The bytes of a safetensors file that knows when it is damaged.

A description in JSON is the one entry of the metadata: with several, their order and so the file would differ from
process to process. It holds the SHA-256 of each tensor and of the header, which is taken with its own digits as zeros
and covers everything from the first byte, the length of the header, to the padding before the tensors. The tensors
cover the rest without a gap: the format wants that, and safetensors checks it.
"""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import __version__

Array = NDArray[Any]

FORMAT = 1
_KEY = "fastbp"
_ZEROS = b"0" * 64
_SEAL = rb'\\"sha256\\":\{\\"header\\":\\"([0-9a-f]{64})\\"'  # in a text within the header's own JSON


def packed(description: dict[str, Any], tensors: dict[str, Array]) -> tuple[bytes, memoryview]:
    """The header and the tensors, row-major arrays, of a file; the same bytes for the same contents."""
    import json

    from safetensors.numpy import save

    digests = {name: _digest(tensor.data) for name, tensor in tensors.items()}
    checksums = {"header": _ZEROS.decode(), **digests}
    whole = {"format": FORMAT, "fastbp": __version__, **description, "sha256": checksums}
    raw = memoryview(save(tensors, {_KEY: json.dumps(whole, separators=(",", ":"), default=_plain)}))
    header, data = raw[: _header_end(raw)], raw[_header_end(raw) :]
    (seal,) = re.finditer(_SEAL, header)
    digest = _digest(header).encode()
    return b"".join((header[: seal.start(1)], digest, header[seal.end(1) :])), data


def unpacked(raw: bytes, name: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """The description and the tensors of a file, if each of its bits is as it was written."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    end = _header_end(raw)
    if end > len(raw):
        raise ValueError(f"[load] {name} is damaged: it has {len(raw)} bytes, its header alone would have {end}")
    _check_header(raw[:end], name)
    description = _description(raw[8:end], name)
    written = description.pop("sha256")
    try:
        tensors = load(raw)
    except (SafetensorError, KeyError, ValueError, OverflowError) as error:
        raise ValueError(f"[load] {name} is damaged: {len(raw)} bytes do not fit its header ({error})") from error
    for key, tensor in tensors.items():
        if _digest(tensor.data) != written.get(key):
            raise ValueError(f"[load] {name} is damaged: {key} differs from its checksum")
    return description, tensors


def _digest(data: bytes | memoryview) -> str:
    from hashlib import sha256  # brings OpenSSL, which `import fastbp` does not wait for

    return sha256(data).hexdigest()


def _header_end(raw: bytes | memoryview) -> int:
    """Where the tensors begin: behind the length of the header's JSON, and that."""
    return 8 + int.from_bytes(raw[:8], "little")


def _check_header(header: bytes, name: str) -> None:
    seals = list(re.finditer(_SEAL, header))
    if len(seals) != 1:
        raise ValueError(f"[load] {name} is damaged, or was not written by fastbp: its header has no checksum")
    start, end = seals[0].span(1)
    if _digest(header[:start] + _ZEROS + header[end:]).encode() != header[start:end]:
        raise ValueError(f"[load] {name} is damaged: its header differs from its checksum")


def _description(header: bytes, name: str) -> dict[str, Any]:
    import json

    try:
        description: dict[str, Any] = json.loads(json.loads(header)["__metadata__"][_KEY])
        version, writer = description["format"], description["fastbp"]
        description["sha256"] = dict(description["sha256"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"[load] {name} does not describe what it holds: {error!r}") from error
    if version != FORMAT:
        raise ValueError(
            f"[load] {name} has format {version!r}, written by fastbp {writer}; fastbp {__version__} reads {FORMAT}"
        )
    return description


def _plain(value: Any) -> Any:
    """Numbers of NumPy and others for JSON: those of a recipe are reals, but for bools."""
    array = np.asarray(value)
    return array.tolist() if array.dtype.kind == "b" else array.astype(np.float64).tolist()
