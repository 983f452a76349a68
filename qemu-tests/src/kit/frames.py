# SPDX-License-Identifier: MIT
# Begins every script that sends frames of its own through eth0: the first argument is the hardware address they go to.
import os, socket, struct, sys
mac = bytes.fromhex(sys.argv[1].replace(":", ""))
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
own = link.getsockname()[4]

def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff

def summed(source, destination, tcp):
    """A TCP segment with its checksum."""
    total = checksum(source + destination + struct.pack("!II", len(tcp), 6) + tcp)
    return tcp[:16] + struct.pack("!H", total) + tcp[18:]

def headed(ip):
    """An IPv4 header with its checksum."""
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]

