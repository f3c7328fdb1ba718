#!/usr/bin/python3
"""Pads the short frames of a capture to 60 bytes: wire_pad.py FILE, in place.

A virtual link carries a 42-byte ARP request as it is. A real network card adds zeros up to the Ethernet minimum
(IEEE 802.3, 4.2.3.3: 64 bytes with the FCS), and a switch drops what is shorter as a runt. With the padding the
recordings hold what a switch would have received; no other byte changes.

Limits: classic pcap in this machine's byte order, as tcpdump has just written it, and only whole frames.
"""

import struct
import sys

MINIMUM_LEN = 60  # Without the FCS.
FILE_HEADER_LEN = 24
RECORD_HEADER = struct.Struct("=IIII")  # seconds, fraction, captured length, original length


def padded(capture: bytes) -> bytes:
    """The same capture with every frame at least MINIMUM_LEN long."""
    magic = struct.unpack_from("=I", capture)[0]
    if magic not in (0xA1B2C3D4, 0xA1B23C4D):
        raise ValueError(f"not a pcap file in this machine's byte order: magic {magic:#x}")
    out = bytearray(capture[:FILE_HEADER_LEN])
    offset = FILE_HEADER_LEN
    while offset < len(capture):
        seconds, fraction, captured_len, original_len = RECORD_HEADER.unpack_from(capture, offset)
        if captured_len != original_len:
            raise ValueError(f"the frame at byte {offset} is cut: {captured_len} of {original_len} bytes")
        start = offset + RECORD_HEADER.size
        frame = capture[start : start + captured_len]
        if len(frame) != captured_len:
            raise ValueError(f"the file ends inside the frame at byte {offset}")
        frame = frame.ljust(MINIMUM_LEN, b"\0")
        out += RECORD_HEADER.pack(seconds, fraction, len(frame), len(frame)) + frame
        offset = start + captured_len
    return bytes(out)


if __name__ == "__main__":
    with open(sys.argv[1], "r+b") as file:
        result = padded(file.read())
        file.seek(0)
        file.write(result)
