"""An online block Hadamard rotation in a network: lines, cycles, streams, the scale behind it, and FINN's refusal."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import numerics_of

from hwmodels.catalog import integers, minifloats, parse_element
from hwmodels.devices import get_device
from hwmodels.estimate import CostError, CostModel, CostOptions, estimate
from hwmodels.formats import IntFormat
from hwmodels.ops import Folding, MatVec, Network, Requantize, Rotate, ShapeError
from hwmodels.primitives.cost import BandKind
from hwmodels.primitives.hadamard import delay_line, hadamard, rotate, rotated_bits, rotation_lanes
from hwmodels.primitives.operands import fixed_point_bits, integer_grid

DEVICE = get_device("xczu3eg")


def network(block=16, channels=64, vectors=4):
    return Network(
        "n",
        (
            MatVec("up", channels, 32, vectors, "x"),
            Requantize("up.requantize", "up", channels, vectors, "h"),
            Rotate("rotate", channels, block, vectors, "h"),
            Requantize("rotate.requantize", "rotate", channels, vectors, "r"),
            MatVec("down", 32, channels, vectors, "r"),
        ),
    )


def made(block=16, weight="int4", site="int8", folding=None, **kwargs):
    net, folding = network(block), folding or Folding(4, 8)
    return estimate(net, numerics_of(net, weight, site, **kwargs), {"up": folding, "down": folding}, DEVICE)


def test_a_rotation_is_a_line_with_a_fifo_in_front_and_keeps_up() -> None:
    report = made()
    parts = {line.component: line for line in report.lines if line.layer == "rotate"}
    assert {"rotation", "FIFO"} <= set(parts)
    assert parts["rotation"].resources.lut > 0
    assert report.cycles["rotate"] == 64 * 4, "a channel a cycle, 4 vectors of 64: as slow as the layers"
    assert report.cycles["rotate"] == report.cycles["up"] == report.max_cycles


def test_faster_layers_ask_for_more_lanes_and_adders() -> None:
    slow, fast = made(), made(folding=Folding(32, 32))
    assert fast.cycles["rotate"] == 64 // 32 * 4, "two blocks of 16 at once"
    luts = [report.per_layer()["rotate"].lut for report in (slow, fast)]
    assert luts[0] < luts[1]


def test_larger_blocks_cost_more() -> None:
    luts = [made(block, folding=Folding(32, 32)).per_layer()["rotate"].lut for block in (2, 4, 8, 16, 32, 64)]
    assert luts == sorted(luts)


def test_the_scale_behind_a_rotation_needs_no_parameters_and_no_multiplier_if_it_can() -> None:
    """1 / sqrt(16) is a power of two, 1 / sqrt(32) is not; neither has a bias or a scale per channel."""

    def line(block, scaling="channel_po2", site="tensor_po2"):
        report = made(block, scaling=scaling, activation_scaling=site)
        lines = {line.component: line for line in report.lines if line.layer == "rotate.requantize"}
        assert "bias" not in lines["requantize"].formula
        return lines["requantize"].formula

    assert "shifted by wires" in line(16)
    assert "x constant" in line(32)
    assert "x constant" in line(16, site="tensor")


def test_bits_of_a_rotated_value() -> None:
    assert rotated_bits(parse_element("int8"), 16) == 12
    assert rotated_bits(parse_element("uint4"), 16) == 9
    assert rotated_bits(parse_element("e2m1"), 4) == 5 + 2


@given(st.sampled_from([1, 3, 5]), st.integers(1, 6))
def test_lanes_divide_the_channels_into_words_or_blocks(blocks: int, log: int) -> None:
    block = 1 << log
    lanes = rotation_lanes(blocks * block, block)
    assert lanes[0] == 1
    assert lanes[-1] == blocks * block
    assert list(lanes) == sorted(lanes)
    assert all(block % n == 0 if n <= block else blocks % (n // block) == 0 for n in lanes)


@given(st.sampled_from([*integers(), *minifloats()]), st.integers(1, 7))
def test_parallel_rotations_cost_a_block_times_its_stages(fmt, log: int) -> None:
    block = 1 << log
    cost = rotate(fmt, block, 2 * block, "xcup").resources
    width = fixed_point_bits(fmt)
    assert cost.lut >= 2 * block * log * width
    if isinstance(integer_grid(fmt), IntFormat):
        assert cost.lut <= 2 * block * log * (width + log + 1) + 16
    else:
        assert cost.lut > hadamard(block, width, 2 * block, "xcup", signed=fmt.signed).resources.lut


def test_serial_rotations_have_fewer_luts_and_delays_in_shift_registers() -> None:
    luts = [hadamard(64, 8, lanes, "xcup").resources.lut for lanes in (1, 2, 4, 8, 16, 32, 64)]
    assert luts == sorted(luts)
    assert 20 * luts[0] < luts[-1]
    assert delay_line(2, 9).ff == 18
    assert delay_line(16, 9).lut == 5
    assert delay_line(64, 9).lut == 18


def test_bands_widen_beyond_the_table() -> None:
    inside, wide, versal = (
        hadamard(16, bits, 16, family).band for bits, family in ((8, "xcup"), (40, "xcup"), (8, "versal"))
    )
    assert inside.kind is BandKind.MEASURED
    assert wide.kind is versal.kind is BandKind.EXTRAPOLATED
    assert "bits 40 outside" in wide.basis
    assert "family versal instead of" in versal.basis


def test_finn_has_no_rotation() -> None:
    net = network()
    numerics = numerics_of(net, "int4", "int8")
    foldings = {"up": Folding(), "down": Folding()}
    with pytest.raises(CostError, match=re.escape("but rotate is a Rotate; use model=calibrated.")) as error:
        estimate(net, numerics, foldings, DEVICE, CostOptions(model=CostModel.FINN))
    assert str(error.value).count(".") == 1


@pytest.mark.parametrize("block", [1, 12, 128])
def test_impossible_blocks_are_refused(block: int) -> None:
    with pytest.raises(
        ShapeError, match=f"power of two from 2 that divides the channels, but r got block={block}, channels=64"
    ):
        Rotate("r", 64, block, 4, "x")
