"""What a pair of formats has beyond the form: as in the table, or as its neighbours there."""

import numpy as np
import pytest

from hwmodels.calibration import dot_product_constants as constants
from hwmodels.catalog import parse_element
from hwmodels.formats import IntFormat, Minifloat
from hwmodels.synthesized_pairs import beyond_form, coordinates, measured_pair, nearest


def steps(first: tuple[str, str], second: tuple[str, str]) -> int:
    """By hand: bits of exponents and mantissas, signs, and two for the kind, in the better order."""

    def apart(a: str, b: str) -> int:
        x, y = parse_element(a), parse_element(b)
        kinds = 2 * (isinstance(x, IntFormat) != isinstance(y, IntFormat))
        exponents = [fmt.exponent_bits if isinstance(fmt, Minifloat) else 0 for fmt in (x, y)]
        mantissas = [fmt.mantissa_bits if isinstance(fmt, Minifloat) else fmt.bits - 1 for fmt in (x, y)]
        return kinds + abs(exponents[0] - exponents[1]) + abs(mantissas[0] - mantissas[1]) + (x.signed != y.signed)

    return min(
        apart(first[0], second[0]) + apart(first[1], second[1]), apart(first[0], second[1]) + apart(first[1], second[0])
    )


def test_every_pair_of_the_vocabulary_is_measured() -> None:
    """Signed formats of up to 8 bits with each other and with unsigned ones, in either order, whatever their bias or range."""
    assert measured_pair(Minifloat(4, 3), IntFormat(4, narrow=True)) == constants.PAIRS["int4", "finite_e4m3"]
    assert measured_pair(parse_element("ocp_e4m3"), Minifloat(2, 1, bias=4)) == measured_pair(
        Minifloat(2, 1), Minifloat(4, 3)
    )
    names = ["int2", "int5", "int8", "e1m2", "e3m0", "e7m0", "finite_e5m2", "e2m5"]
    others = [*names, "uint1", "uint8", "ue2m1", "finite_ue5m2"]
    assert all(measured_pair(parse_element(a), parse_element(b)) is not None for a in names for b in others)


@pytest.mark.parametrize("pair", [("ocp_e5m2", "ocp_e5m2"), ("int9", "int9"), ("ue1m4", "int3"), ("e2m7", "uint8")])
def test_others_have_the_mean_of_the_nearest(pair: tuple[str, str]) -> None:
    weight, activation = map(parse_element, pair)
    assert measured_pair(weight, activation) is None
    distances = {known: steps(pair, known) for known in constants.PAIRS}
    least = min(distances.values())
    found = [constants.PAIRS[known] for known, distance in distances.items() if distance == least]
    assert beyond_form(weight, activation) == pytest.approx(np.mean(found))


def test_the_order_of_the_formats_makes_no_difference() -> None:
    a, b = Minifloat(3, 2), IntFormat(5, signed=False)
    others = np.array([coordinates((b, a)), coordinates((a, a))])
    assert nearest(coordinates((a, b)), others).tolist() == [0]
