"""Arrays on a GPU as libraries have them that know nothing of fastbp: by DLPack alone, which NumPy cannot read."""

import ctypes

CAPSULE = b"dltensor_versioned"
SHAPE, STRIDES, BYTE_OFFSET = 56, 64, 72  # where the addresses of the first two, and the last, lie in such a capsule

pointer_in = ctypes.pythonapi.PyCapsule_GetPointer
pointer_in.restype, pointer_in.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)


class OfAnotherLibrary:
    """Over a DeviceArray; it notes the streams that it is asked for."""

    def __init__(self, array, versioned=True):
        self.array, self.versioned, self.streams = array, versioned, []
        self.shape, self.ndim = array.shape, array.ndim

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, stream=None, **versions):
        if versions and not self.versioned:
            raise TypeError("unexpected keyword max_version")
        self.streams.append(stream)
        return self.array.__dlpack__(stream=stream, **versions)


class WithStrides(OfAnotherLibrary):
    """The same memory in another shape of as many dimensions."""

    def __init__(self, array, shape, strides):
        super().__init__(array)
        self.shape, self.strides = shape, strides

    def __dlpack__(self, **asked):
        capsule = super().__dlpack__(**asked)
        for offset, numbers in ((SHAPE, self.shape), (STRIDES, self.strides)):
            address = ctypes.c_void_p.from_address(pointer_in(capsule, CAPSULE) + offset).value
            (ctypes.c_int64 * len(numbers)).from_address(address)[:] = numbers
        return capsule


class Displaced(OfAnotherLibrary):
    """Its numbers begin some bytes behind the memory's begin."""

    def __init__(self, array, offset):
        super().__init__(array)
        self.offset = offset

    def __dlpack__(self, **asked):
        capsule = super().__dlpack__(**asked)
        ctypes.c_uint64.from_address(pointer_in(capsule, CAPSULE) + BYTE_OFFSET).value = self.offset
        return capsule


class OnAnotherGpu:
    """An exporter far away."""

    def __init__(self, number):
        self.number = number

    def __dlpack_device__(self):
        return 2, self.number

    def __dlpack__(self, **kwargs):
        raise BufferError("not here")


class Refusing(OfAnotherLibrary):
    """An exporter whose library does not lend the array, as torch where it records gradients."""

    def __init__(self, array, error, **attributes):
        super().__init__(array)
        self.error = error
        vars(self).update(attributes)

    def __dlpack__(self, **asked):
        raise self.error
