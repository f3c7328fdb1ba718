#!/usr/bin/python3
"""A network card with VLANs, in user space: vlan_nic.py TRUNK INNER=TAGS...

Not every kernel has 802.1Q devices, so this program stands where one would: it makes the TAP device TRUNK, on which
all frames are tagged, and one TAP device INNER for each stack of tags. A frame the host sends on INNER leaves on TRUNK
with the tags in front; a frame that arrives on TRUNK with exactly these tags reaches INNER without them; all others
are dropped, as a card drops VLANs it has no device for.

TAGS is a comma-separated list, outermost first, of TPID:VID[:PCP], TPID in hexadecimal:
    vlan_nic.py p1 v10=8100:10 v20=8100:20:5         two VLANs, the second with priority 5
    vlan_nic.py p1 q=88a8:100,8100:10                QinQ: S-tag 100 around C-tag 10

TAP devices, and not packet sockets, because a packet socket takes the outer tag out of the frames it receives.
Prints "ready" when the devices exist; the caller may then move INNER into the host's network namespace (an open TAP
device stays open). Runs until it is killed.
"""

import errno
import fcntl
import os
import select
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME_SIZE_MAX = 65536
ADDRESSES_LEN = 12  # Both MAC addresses; the tags come after them.


def open_tap(name: str) -> int:
    """Makes a TAP device whose frames have no extra header, so that the kernel hands out complete checksums."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def tag_bytes(tags: str) -> bytes:
    """`8100:20:5` and so on as the bytes between the addresses and the EtherType."""
    out = b""
    for tag in tags.split(","):
        tpid, vid, pcp = (tag.split(":") + ["0"])[:3]
        out += struct.pack("!HH", int(tpid, 16), int(pcp) << 13 | int(vid))
    return out


def forward(tap: int, frame: bytes) -> None:
    """Writes the frame; a device that is down refuses it, and a card without link loses it too."""
    try:
        os.write(tap, frame)
    except OSError as error:
        if error.errno != errno.EIO:
            raise


def main() -> None:
    trunk = open_tap(sys.argv[1])
    inner_of, tags_of = {}, {}
    for argument in sys.argv[2:]:
        name, tags = argument.split("=")
        inner = open_tap(name)
        inner_of[tag_bytes(tags)] = inner
        tags_of[inner] = tag_bytes(tags)
    print("ready", flush=True)

    while True:
        for tap in select.select([trunk, *tags_of], [], [])[0]:
            frame = os.read(tap, FRAME_SIZE_MAX)
            addresses, rest = frame[:ADDRESSES_LEN], frame[ADDRESSES_LEN:]
            if tap != trunk:
                forward(trunk, addresses + tags_of[tap] + rest)
                continue
            for tags, inner in inner_of.items():
                if rest.startswith(tags):
                    forward(inner, addresses + rest[len(tags) :])


if __name__ == "__main__":
    main()
