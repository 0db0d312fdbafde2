"""SSH as it looks from outside of the encryption: banner, key exchange, who is the server, and packet sizes.

Sources: RFC 4253 (identification string, binary packet protocol), RFC 5656 and 4419 (key exchange message numbers),
OpenSSH cipher.c and mac.c (block and tag sizes), PROTOCOL.chacha20poly1305, RFC 5647 (AES-GCM: length outside of the
encryption).
"""

from __future__ import annotations

from typing import NamedTuple

NEWKEYS = 21
SERVER_MESSAGES = frozenset((31, 33))
CLIENT_MESSAGES = frozenset((30, 32, 34))
BANNER = b"SSH-"
_HEAD = 255
"""RFC 4253 4.2: longest identification string."""
_OTHERS = (
    "paramiko",
    "asyncssh",
    "dropbear",
    "putty",
    "libssh",
    "ssh-2.0-go",
    "jsch",
    "sshj",
    "russh",
    "twisted",
    "mina",
)
"""Parts of the banners of implementations that make no forwards out of ssh_config(5)."""
_LONGEST_PLAIN_PACKET = 35000


class Mode(NamedTuple):
    """How a cipher and MAC make a payload into bytes on the wire."""

    block: int
    apart: bool
    """The length field stands outside of what is padded (AEAD ciphers and encrypt-then-MAC)."""
    tag: int

    def size(self, payload: int) -> int:
        """Bytes on the wire of one packet with the least padding that RFC 4253 allows (4 bytes, up to a whole
        block)."""
        inner = payload + 5 if self.apart else payload + 9
        padded = -(-inner // self.block) * self.block
        return padded + self.tag + (4 if self.apart else 0)

    def fits(self, size: int, least: int, most: int) -> bool:
        """Whether a packet of this size may carry a payload of least to most bytes."""
        return self.size(least) <= size <= self.size(most) and (size - self.size(least)) % self.block == 0

    def may(self, size: int) -> bool:
        """Whether one packet may have this size at all."""
        return size >= self.size(1) and (size - self.size(1)) % self.block == 0


MODES = (
    Mode(8, True, 16),  # chacha20-poly1305
    Mode(16, True, 16),  # AES-GCM; also encrypt-then-MAC with a 16-byte tag
    *(Mode(16, True, tag) for tag in (8, 12, 20, 32, 64)),  # AES-CTR, encrypt-then-MAC
    *(Mode(16, False, tag) for tag in (8, 12, 16, 20, 32, 64)),  # AES-CTR, encrypt-and-MAC
)
LEAST_SIZES = frozenset(mode.size(1) for mode in MODES)
"""Sizes that the smallest packet of a connection (one byte of payload, such as USERAUTH_SUCCESS) can have."""


def modes_of(least: int) -> tuple[Mode, ...]:
    """The modes in which the smallest packet has this size."""
    return tuple(mode for mode in MODES if mode.size(1) == least)


def reads_config(banner: str) -> bool:
    """Whether a client with this banner may do what ssh_config(5) says: OpenSSH, or one that is not known."""
    return "OpenSSH" in banner or not any(name in banner.lower() for name in _OTHERS)


class Side:
    """One direction of a connection while it is still in the clear: tells whether it speaks as client or as server.

    Fed with the first bytes of some packets, in order of their offsets. The banner may come in pieces from the start
    of the stream, or at the start of any packet (behind a proxy's answer, or after the lines that a server may send
    before it). What is missing between packets is skipped by their length fields; where a packet's head was not seen
    the side stays undecided.
    """

    __slots__ = ("_head", "banner", "next_packet", "over", "role")

    def __init__(self) -> None:
        self._head = b""
        self.banner = ""
        """The identification string ("SSH-2.0-OpenSSH_9.2p1"), as far as it was seen."""
        self.next_packet: int | None = None
        self.role = ""
        """"client", "server" or empty."""
        self.over = False

    def feed(self, offset: int, data: bytes) -> None:
        """Bytes of the stream from `offset` on."""
        if self.over:
            return
        if self.next_packet is None:
            if offset == len(self._head) and offset < _HEAD:
                self._head += data[:_HEAD]
            start, text = (offset, data) if data.startswith(BANNER) else (0, self._head)
            if not text.startswith(BANNER):
                return
            line, end, _ = text.partition(b"\n")
            self.banner = line.rstrip(b"\r").decode("ascii", "backslashreplace")
            if not end:
                return
            self.next_packet = start + len(line) + 1
        while offset <= self.next_packet and self.next_packet + 6 <= offset + len(data):
            at = self.next_packet - offset
            length, message = int.from_bytes(data[at : at + 4], "big"), data[at + 5]
            if not 5 <= length <= _LONGEST_PLAIN_PACKET or message == NEWKEYS:
                self.over = True
                return
            if message in SERVER_MESSAGES or message in CLIENT_MESSAGES:
                self.role = "server" if message in SERVER_MESSAGES else "client"
                self.over = True
                return
            self.next_packet += 4 + length
