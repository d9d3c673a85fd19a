"""What the units of a transformer must compute, in plain integers: written from their contracts, not from their Verilog."""

from __future__ import annotations

from math import sqrt


def inverse(n: int, bits: int, root: bool) -> tuple[int, int]:
    """(value, leading zeros): a guess of 10 bits for the middle of an interval, one Newton step, every product cut to 16 bits."""
    zeros = bits - n.bit_length()
    v = n << zeros + 17 >> bits  # 17 bits, the leading one on top
    odd = (bits - 1 - zeros) % 2 if root else 0
    middle = (1 + ((v >> 9) % 128 + 0.5) / 128) * 2**odd
    guess = min(round((1 / sqrt(middle) if root else 1 / middle) * 1024), 1023)
    if not root:
        t = v * guess >> 10
        return guess * (2 * 65536 - 1 - t) >> 10, zeros
    s = v * guess >> 10
    w = s * guess >> (10 - odd)
    return guess * (65536 + (65535 - w >> 1)) >> 10, zeros


def normalize(x: list[int], sum_bits: int, fraction: int) -> list[int]:
    """x / sqrt(1 + sum of squares), rounded down to `fraction` bits."""
    value, zeros = inverse(1 + sum(each * each for each in x), sum_bits, root=True)
    shift = 16 + sum_bits // 2 - 1 - fraction
    return [(each * value << (zeros >> 1)) >> shift for each in x]


def centre(x: list[int], fraction: int) -> list[int]:
    """x less its mean, which is rounded to `fraction` bits; one over the length has 16 bits."""
    value, shift = 65536 * 2 ** (len(x) - 1).bit_length() // 2, (len(x) - 1).bit_length() + 15
    value = round(2**shift / len(x))
    while value % 2 == 0:
        value, shift = value // 2, shift - 1
    mean = (sum(x) * 2**fraction + (2**shift // value + 1) // 2) * value >> shift
    return [each * 2**fraction - mean for each in x]


def softmax(x: list[int], fraction: int, sum_bits: int) -> list[int]:
    """2^(x - largest) / sum in 16 bits; x has `fraction` bits behind the binary point."""
    top, powers = max(x), []
    for each in x:
        octaves, rest = divmod(top - each, 2**fraction)
        power = min(round(2.0 ** (16 - rest / 2**fraction)), 65535)
        powers.append(power >> octaves if octaves < 16 else 0)
    value, zeros = inverse(sum(powers), sum_bits, root=False)
    return [(power * value << zeros) >> (sum_bits - 1) for power in powers]


def dynamic_scale(x: list[int], bits: int, digits: int | None) -> tuple[list[int], int]:
    """(x / largest magnitude * (1 - 2^-digits), or without digits the shift to the leading one; the magnitude)."""
    scale = max(*map(abs, x), 1)
    value, zeros = inverse(scale, bits, root=False)
    if digits is None:
        return [each << zeros for each in x], scale
    factor = value - (value >> digits)
    return [(each << zeros) * factor >> 16 for each in x], scale
