"""The few containerd messages the tests send, field by field: apart from any schema of ours."""

import os


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def field(number, value):
    """One field: an int as a varint, text or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


class Bytes:
    """A message that is its own wire form."""

    def __init__(self, *fields):
        self.data = b"".join(fields)

    @classmethod
    def FromString(cls, data):
        return cls(data)

    def SerializeToString(self):
        return self.data

    def number(self, wanted):
        """The varint of a field near the beginning, before any that is no varint or text."""
        data, at = self.data, 0
        while at < len(data):
            key, at = self._varint(at)
            value, at = self._varint(at)
            if key & 7 == 2:
                at += value
            elif key >> 3 == wanted:
                return value
        return None

    def _varint(self, at):
        value = shift = 0
        while True:
            byte = self.data[at]
            value |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                return value, at


def scratch_name():
    return f"holdfast-test-{os.getpid()}"
