"""An independent judge: reads HJ 212 frames by the standard's own listing and shares no code with uplink/."""

import re

ORDER = ["QN", "ST", "CN", "PW", "MN", "Flag", "PNUM", "PNO", "RF", "CP"]


def crc_by_listing(data):
    """The listing of HJ 212-2017 appendix A, bit by bit."""
    register = 0xFFFF
    for byte in data:
        register = (register >> 8) ^ byte
        for _ in range(8):
            low = register & 1
            register >>= 1
            if low:
                register ^= 0xA001
    return register


def judge(wire, key=None):
    """Every frame of *wire* as a dict of its fields; AssertionError at the first breach of the standard."""
    frames = []
    while wire:
        assert wire[:2] == b"##", wire[:40]
        size = int(wire[2:6])
        wire = _opened(wire, size, key) if key else wire
        body, check, tail = wire[6 : 6 + size], wire[6 + size : 10 + size], wire[10 + size : 12 + size]
        assert size <= 1024
        assert tail == b"\r\n"
        assert check == b"%04X" % crc_by_listing(body)
        frames.append(_fields(body.decode("ascii")))
        wire = wire[12 + size :]
    return frames


def _fields(body):
    head, cp = re.fullmatch(r"(.*?;)CP=(.*)", body).groups()
    fields = dict(part.split("=") for part in head.rstrip(";").split(";"))
    assert len("CP=" + cp) <= 950
    assert cp.startswith("&&")
    assert cp.endswith("&&")
    names = [*fields, "CP"]
    assert names == [name for name in ORDER if name in names]
    if "QN" in fields:
        assert re.fullmatch(r"\d{17}", fields["QN"])
    if "Flag" in fields:
        split = bool(int(fields["Flag"]) & 2)
        assert split == ("PNUM" in fields) == ("PNO" in fields)
    return {**fields, "CP": cp[2:-2]}


def _opened(wire, size, key):
    """*wire* with the data area of its first frame deciphered, where its command says it is enciphered."""
    begin = wire.index(b"CP=&&") + 5
    cn = re.search(rb"CN=(\d{4})", wire[:begin])[1]
    if not (b"2000" <= cn <= b"2999" or cn in (b"1014", b"3020")):
        return wire
    if wire[begin : begin + 1] == b"{":
        end = wire.index(b"}", begin)
        cipher = bytes(int(part, 16) for part in wire[begin + 1 : end].split(b","))
        wire = wire[:begin] + cipher + wire[end + 1 :]
    whole = (6 + size - 2 - begin) // 16 * 16
    return wire[:begin] + Sm4(key).decrypt_blocks(wire[begin : begin + whole]) + wire[begin + whole :]


class Sm4:
    """SM4 by GB/T 32907-2016, its S-box computed from the field it is defined by."""

    def __init__(self, key):
        words = [a ^ b for a, b in zip(_words(key), (0xA3B1BAC6, 0x56AA3350, 0x677D9197, 0xB27022DC), strict=True)]
        for step in range(32):
            constant = int.from_bytes(bytes((4 * step + j) * 7 % 256 for j in range(4)))
            mixed = _substituted(words[-3] ^ words[-2] ^ words[-1] ^ constant)
            words.append(words[-4] ^ mixed ^ _rotated(mixed, 13) ^ _rotated(mixed, 23))
        self._rounds = words[4:]

    def encrypt_blocks(self, data):
        return self._blocks(data, self._rounds)

    def decrypt_blocks(self, data):
        return self._blocks(data, self._rounds[::-1])

    def _blocks(self, data, rounds):
        whole = len(data) // 16 * 16
        return b"".join(self._block(data[at : at + 16], rounds) for at in range(0, whole, 16)) + data[whole:]

    def _block(self, block, rounds):
        words = list(_words(block))
        for key in rounds:
            mixed = _substituted(words[-3] ^ words[-2] ^ words[-1] ^ key)
            for turn in (2, 10, 18, 24):
                mixed ^= _rotated(_substituted(words[-3] ^ words[-2] ^ words[-1] ^ key), turn)
            words.append(words[-4] ^ mixed)
        return b"".join(word.to_bytes(4) for word in words[:-5:-1])


def _words(data):
    return [int.from_bytes(data[at : at + 4]) for at in range(0, 16, 4)]


def _rotated(word, places):
    return (word << places | word >> 32 - places) & 0xFFFFFFFF


def _substituted(word):
    return int.from_bytes(_BOX[byte] for byte in word.to_bytes(4))


def _inverse(byte):
    """The inverse in GF(2^8) modulo x^8+x^7+x^6+x^5+x^4+x^2+1."""
    return next((other for other in range(256) if _product(byte, other) == 1), 0)


def _product(left, right):
    product = 0
    for bit in range(8):
        if right >> bit & 1:
            product ^= left << bit
    for bit in range(14, 7, -1):
        if product >> bit & 1:
            product ^= 0x1F5 << bit - 8
    return product


def _affine(byte):
    """The rows of its matrix are 0xD3 turned right, its constant is 0xD3."""
    rows = (bin((0xD3 >> turn | 0xD3 << 8 - turn) & 0xFF & byte).count("1") & 1 for turn in range(8))
    return sum(bit << 7 - index for index, bit in enumerate(rows)) ^ 0xD3


_BOX = [_affine(_inverse(_affine(byte))) for byte in range(256)]
