"""Rounding for people: once, half to even, on decimal digits (GB/T 8170); frames do the same (uplink/hj212)."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal

WIDE = Context(prec=400)  # digits of the largest float, and its decimals


def rounded(value: float, decimals: int) -> str:
    """*value* with so many decimals, half to even, from the digits that it prints with.

    >>> rounded(0.25, 1), rounded(2.675, 2), rounded(1e-9, 1)
    ('0.2', '2.68', '0.0')
    """
    made = Decimal(repr(float(f"{value:.12g}"))).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN, WIDE)
    return f"{made if made else abs(made):f}"
