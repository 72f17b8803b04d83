"""Convert data frames and object arrays, which NumPy reads as objects, to numbers. The extension calls this module."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def frame_to_array(frame: Any) -> Array:
    """Return a frame or one of its columns as an array, of numbers if all columns hold real numbers or bools.

    Missing values of nullable columns become nan. A frame that NumPy reads as numbers is not copied.
    """
    if not _is_mixed(frame):
        array = np.asarray(frame)
        if array.dtype.kind != "O":
            return array
    if len(getattr(frame, "shape", ())) == 1 and hasattr(frame, "dtype"):
        return _column_to_array(frame)
    columns = [_column_to_array(column) for column in _columns(frame)]
    if not columns or any(column.dtype.kind not in "fiub" for column in columns):
        return np.asarray(frame)
    found = np.empty((len(columns[0]), len(columns)), np.result_type(*columns))
    for j, column in enumerate(columns):
        found[:, j] = column
    return found


def objects_to_numbers(array: Array) -> Array:
    """Return an object array as numbers if the conversion changes no value, else the array itself."""
    kinds = {type(value) for value in array.flat}
    if not kinds or not all(map(_is_number, kinds)):
        return array
    missing = np.array([_is_missing(type(value)) for value in array.flat]).reshape(array.shape)
    if missing.any():
        array = np.where(missing, np.nan, array)
    found = np.array(array.tolist())
    if found.dtype.kind not in "fiub":  # integers beyond 64 bits, or decimal numbers
        try:
            found = array.astype(np.float64)
        except OverflowError:
            return array
    if not bool(((array == found) | (array != array)).all()):  # a nan differs from itself
        return array
    return found


def cure_for(name: str, array: Array, given: Any) -> str:
    """Return the end of an error text, the place and the cure, for an array from `given` without real numbers."""
    kind = array.dtype.kind
    convert = f"{name}.{'cast' if hasattr(given, 'cast') else 'astype'}(float)"
    if kind == "O":
        for place in np.ndindex(array.shape):
            value = array[place]
            if not _is_number(type(value)):
                where = f"{name}[{', '.join(map(str, place))}]" if place else name
                cure = _cure_for_value(name, value, convert)
                return f": {where} is {repr(value)[:40]} ({type(value).__name__}). {cure}"
        return f", and converting them changes a value: pass {convert} to round"
    if kind in "UST":
        return f". {_cure_for_value(name, '', convert)}"
    if kind == "c":
        return f": pass {name}.real, or real and imaginary parts as separate columns"
    if kind in "mM":
        return ": convert times to numbers first, such as seconds"
    return ""


def _cure_for_value(name: str, value: object, convert: str) -> str:
    if value is None:
        return "Replace a missing value by nan, or leave the row out"
    if not isinstance(value, (str, bytes)):
        return f"Convert {name} to numbers first"
    if name == "y":
        return "Number classes with numpy.unique(y, return_inverse=True); fastbp.sklearn accepts any labels"
    return f"Encode categories as numbers; convert text that holds numbers with {convert}"


def _is_mixed(frame: Any) -> bool:
    """Return whether NumPy would read this pandas frame as objects, although its columns may hold numbers."""
    if not (hasattr(frame, "iloc") and len(frame.shape) == 2):
        return False
    types = list(frame.dtypes)
    plain = [t for t in types if isinstance(t, np.dtype)]
    return len(plain) < len(types) or len({t.kind == "b" for t in plain}) > 1


def _columns(frame: Any) -> Iterator[Any]:
    """Return the columns of a pandas or Polars frame; those of pandas by position, since names may repeat."""
    if hasattr(frame, "iloc"):
        return (frame.iloc[:, j] for j in range(frame.shape[1]))
    return iter(frame.iter_columns()) if hasattr(frame, "iter_columns") else iter(())


def _column_to_array(column: Any) -> Array:
    dtype = column.dtype
    if isinstance(dtype, np.dtype):
        array = np.asarray(column)
    elif hasattr(column, "null_count"):  # Polars
        numeric = dtype.is_numeric() or str(dtype) == "Boolean"
        array = np.asarray(column)
        array = column.cast(float).to_numpy() if numeric and array.dtype.kind == "O" else array
    elif not hasattr(dtype, "subtype") and getattr(dtype, "_is_numeric", False):  # of pandas, but not sparse
        array = column.to_numpy(dtype=_type_of(column), na_value=np.nan)
    else:
        array = np.asarray(column)
    return objects_to_numbers(array) if array.dtype.kind == "O" else array


def _type_of(column: Any) -> np.dtype[Any]:
    """Return the NumPy type of a numeric extension column, or float64 if values are missing or decimal."""
    kind = column.dtype.kind
    if kind not in "fiub" or (kind != "f" and column.isna().any()):
        return np.dtype(np.float64)
    found: np.dtype[Any] = column.dtype.numpy_dtype
    return found


def _is_number(kind: type) -> bool:
    from decimal import Decimal
    from numbers import Real

    return issubclass(kind, (Real, np.bool_, Decimal)) or _is_missing(kind)


def _is_missing(kind: type) -> bool:
    """Return whether this is the type of pandas.NA."""
    return kind.__name__ == "NAType"
