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


def judge(wire):
    """Every frame of *wire* as a dict of its fields; AssertionError at the first breach of the standard."""
    frames = []
    while wire:
        assert wire[:2] == b"##", wire[:40]
        size = int(wire[2:6])
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
