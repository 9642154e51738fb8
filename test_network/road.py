"""A road between two machines: hands Ethernet frames from one interface to the other, late, and loses some.

In place of `tc netem`, which not every kernel has. Needs to be root.

    python road.py INTERFACE INTERFACE DELAY_SECONDS LOSS_SHARE
"""

from __future__ import annotations

import array
import fcntl
import heapq
import random
import select
import socket
import struct
import sys
import time

ETH_P_ALL, SOL_PACKET, PACKET_IGNORE_OUTGOING = 3, 263, 23
SIOCETHTOOL = 0x8946
# Checksums by the card, and frames larger than the wire's, which exist within one kernel only: off.
OFFLOADS = {'transmit checksums': 0x17, 'segmentation': 0x1F, 'generic segmentation': 0x24}


def disable_offloads(interface: str) -> None:
    """Have an interface send frames as they go over a wire: complete, and no larger than its MTU."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command in OFFLOADS.values():
            value = array.array('B', struct.pack('II', command, 0))
            address, _ = value.buffer_info()
            fcntl.ioctl(control, SIOCETHTOOL, struct.pack('16sP', interface.encode(), address))


def drive(interfaces: tuple[str, str], delay: float, loss: float) -> None:
    """Hand frames over for ever."""
    ends = []
    for interface in interfaces:
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        end.bind((interface, 0))
        ends.append(end)
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    under_way: list[tuple[float, int, socket.socket, bytes]] = []
    number = 0
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for end in select.select(ends, [], [], wait)[0]:
            try:
                frame = end.recv(65536)
            except OSError:  # the link is down
                continue
            if random.random() >= loss:
                number += 1
                heapq.heappush(under_way, (time.monotonic() + delay, number, other[end], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(under_way)
            try:
                end.send(frame)
            except OSError:
                continue


if __name__ == '__main__':
    drive((sys.argv[1], sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
