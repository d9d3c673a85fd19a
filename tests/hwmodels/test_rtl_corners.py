"""Units of every kind on corner vectors in Icarus Verilog: extremes, alternating signs, subnormals, zeros, forced overflow."""

import shutil

import numpy as np
import pytest

from hwmodels.catalog import parse_element
from hwmodels.codec import decode_all
from hwmodels.datapath import Accumulator, Datapath, Overflow, TensorQuant, parse_scaling, tensor_quant
from hwmodels.formats import Minifloat
from hwmodels.rtl.corners import corner_testbench, corners
from hwmodels.rtl.icarus import run_icarus
from hwmodels.rtl.layer import row_verilog
from hwmodels.rtl.scale import ProductScale, ShiftScale
from hwmodels.rtl.segment import SegmentUnit
from hwmodels.rtl.unit import DotUnit

W, S = Overflow.WRAP, Overflow.SATURATE
UE4M3 = parse_element("nan_ue4m3")

PLAIN = [  # weight, activation, lanes, P, overflow
    ("int2", "int2", 1, 5, W),
    ("int2", "uint8", 16, 12, S),
    ("int3", "uint3", 7, 9, W),
    ("int4", "int4", 8, 11, S),
    ("int4_narrow", "uint4", 12, 13, W),
    ("int5", "int3", 5, 10, S),
    ("int6", "uint6", 9, 14, W),
    ("int8", "int8", 4, 17, S),
    ("int8", "uint8", 16, 20, W),
    ("uint4", "uint4", 3, 11, S),
    ("uint1", "int8", 6, 10, W),
    ("e2m1", "e2m1", 8, 12, W),
    ("e2m1", "e2m1", 1, 9, S),
    ("e3m0", "e3m0", 7, 18, S),
    ("e2m2", "e3m1", 6, 16, W),
    ("e3m1", "e3m1", 2, 13, S),
    ("e2m3", "e2m3", 16, 16, W),
    ("e3m2", "e3m2", 8, 18, S),
    ("e2m4", "e2m1", 3, 12, W),
    ("e4m2", "e3m2", 5, 24, S),
    ("finite_e4m3", "finite_e4m3", 4, 22, W),
    ("ocp_e4m3", "ocp_e4m3", 8, 40, S),
    ("ocp_e5m2", "ocp_e4m3", 2, 30, W),
    ("fnuz_e5m2", "e2m1", 3, 36, S),
    ("ieee_e3m4", "e4m2", 5, 22, W),
    ("e3m2_nosubnormals", "e2m1", 4, 16, S),
    ("ue3m2", "e2m1", 4, 14, W),
    ("e2m1", "uint8", 8, 15, S),
    ("e3m2", "int4", 6, 12, W),
    ("int8", "e2m3", 4, 16, S),
    ("int4", "ocp_e4m3", 10, 22, W),
    ("e1m2", "e1m2", 6, 8, S),
]
CUT = [  # weight, activation, scalings, lanes, P, outer, tile, overflow, scale
    ("int4", "int4", ("", ""), 8, 9, 12, 32, W, None),
    ("int4", "uint4", ("", ""), 8, 9, 10, 2, S, None),
    ("e2m1", "e2m1", ("", ""), 12, 10, 11, 4, W, None),
    ("e3m2", "int4", ("", ""), 4, 14, 15, 12, S, None),
    ("int8", "int8", ("", ""), 4, 17, 18, 16, W, None),
    ("e2m1", "e2m1", ("group8_po2", "group16_po2_dynamic"), 16, 12, 28, None, S, None),
    ("e2m1", "int8", ("group32_po2", ""), 8, 16, 20, None, W, ShiftScale(112, reach=4)),
    ("e3m2", "e2m3", ("group16_po2", ""), 16, 18, 34, None, S, None),
    ("int4", "int4", ("group4", ""), 4, 9, 26, None, W, None),
    ("int4", "int4", ("group64", ""), 2, 9, 27, None, S, None),
    ("e2m1", "e2m1", ("group16_e4m3", ""), 16, 13, 31, None, W, ProductScale(UE4M3)),
    ("int4", "int4", ("group8_e4m3", ""), 8, 9, 28, None, S, ProductScale(UE4M3, dropped=3)),
]


def quant(name, scaling):
    fmt = parse_element(name)
    return TensorQuant(fmt, parse_scaling(scaling)) if scaling else tensor_quant(fmt)


def plain(weight, activation, lanes, bits, overflow, index):
    path = Datapath(quant(weight, ""), quant(activation, ""), Accumulator(bits, overflow=overflow))
    return DotUnit(path, lanes, pipeline=bool(index % 2))


def cut(weight, activation, scalings, lanes, bits, outer, tile, overflow, scale, index):
    path = Datapath(quant(weight, scalings[0]), quant(activation, scalings[1]), Accumulator(bits, tile, overflow))
    return SegmentUnit(path, lanes, outer, scale=scale, pipeline=bool(index % 2))


UNITS = [plain(*each, index) for index, each in enumerate(PLAIN)]
UNITS += [cut(*each, index) for index, each in enumerate(CUT)]


def test_there_are_enough_datapaths_of_every_kind():
    assert len(set(UNITS)) == len(UNITS) >= 40
    assert {unit.lanes for unit in UNITS} >= {1, 2, 4, 8, 16}
    inner = [unit if isinstance(unit, DotUnit) else unit.inner for unit in UNITS]
    assert len({unit.bits for unit in inner}) > 12
    assert {unit.overflow for unit in inner} == {W, S}


@pytest.mark.parametrize("index", range(len(UNITS)), ids=lambda i: f"{i}-{UNITS[i].datapath.weight}")
def test_corner_vectors_hold_what_they_promise(index):
    unit = UNITS[index]
    given = corners(unit)
    assert given.overflows > 0
    inner = unit if isinstance(unit, DotUnit) else unit.inner
    for fmt, codes in ((inner.weight, given.weights), (inner.activation, given.activations)):
        values = decode_all(fmt)[codes]
        assert np.isfinite(values).all()
        assert values.max() == float(fmt.max_value)
        assert values.min() == float(fmt.min_value)
        if isinstance(fmt, Minifloat) and fmt.subnormals:
            smallest = float(fmt.step)
            assert (values == smallest).all(axis=1).any()
            assert not fmt.signed or (values == -smallest).all(axis=1).any()
        if getattr(fmt, "subnormals", True):
            assert (values == 0).all(axis=1).any()


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus Verilog is not on the PATH (apt install iverilog)")
@pytest.mark.parametrize("index", range(len(UNITS)), ids=lambda i: f"{i}-{UNITS[i].datapath.weight}")
def test_a_datapath_computes_its_corner_vectors(index):
    unit = UNITS[index]
    given = corners(unit)
    text, top = row_verilog(unit)
    printed = run_icarus(text + corner_testbench(unit, given), f"{top}_test")
    assert printed.strip() == f"0 of {len(given.clear)} vectors wrong"
