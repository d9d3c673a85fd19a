"""Hadamard transforms, residual adds and pools, simulated: against Sylvester's matrix and the codec's values."""

import re

import numpy as np
import pytest
from joined import Joined, bits_of

from hwmodels.catalog import parse_element
from hwmodels.codec import decode_all
from hwmodels.formats import IntFormat
from hwmodels.rtl import elementwise, hadamard
from hwmodels.rtl.elementwise import AddUnit, PoolUnit, elementwise_verilog
from hwmodels.rtl.hadamard import HadamardUnit, hadamard_verilog
from hwmodels.rtl.reference import finite_codes
from hwmodels.rtl.simulate import code_bits, elaborate, integers, run
from hwmodels.rtl.verilog import RtlError


def sylvester(size):
    matrix = np.array([[1]])
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix


BLOCKS, BATCH = 4, 24


def blocks_of(unit, rng):
    """Random blocks, and in a batch of their own what drives the first and the last row to their ends."""
    low, high = (-(1 << unit.bits - 1), (1 << unit.bits - 1) - 1) if unit.signed else (0, (1 << unit.bits) - 1)
    values = rng.integers(low, high + 1, (BLOCKS, BATCH, unit.block))
    values[0, 0], values[1, 0] = low, high
    values[2, 0] = np.where(sylvester(unit.block)[-1] > 0, high, low)
    return values


def cycles_of(unit, values, late):
    """Words of all blocks one after the other, with cycles in between that do not count."""
    words = values.reshape(BLOCKS, BATCH, unit.words, unit.lanes)
    every = []
    for block in range(BLOCKS):
        for word in range(unit.words):
            start = {"start": np.full((1, BATCH), word == 0)} if unit.words > 1 else {}
            x = code_bits(words[block, :, word] & ((1 << unit.bits) - 1), unit.bits)
            every.append({"x": x, "enable": np.ones((1, BATCH), bool), **start})
            if (block + word) % 3 == 1:
                every.append({"x": ~x, "enable": np.zeros((1, BATCH), bool), **start})
    rest = {name: np.zeros_like(bits) for name, bits in every[0].items()} | {"enable": np.ones((1, BATCH), bool)}
    return every + [rest] * late


UNITS = [(2, 3, 2), (2, 4, 1), (4, 3, 4), (8, 4, 8), (8, 4, 2), (16, 5, 4), (16, 4, 1), (32, 3, 8)]
UNSIGNED = [(8, 1, 8), (8, 4, 2)]


@pytest.mark.parametrize("signed", [True, False])
def test_transforms_equal_sylvesters_matrix(signed):
    """Parallel and serial; block after block without a pause, and held where a cycle does not count."""
    units = [HadamardUnit(*each, signed) for each in (UNITS if signed else UNSIGNED)]
    rng = np.random.default_rng(0)
    values = [blocks_of(unit, rng) for unit in units]
    given = [cycles_of(unit, own, unit.latency) for unit, own in zip(units, values, strict=True)]
    longest = max(map(len, given))
    given = [own + own[-1:] * (longest - len(own)) for own in given]
    cycles = [{(k, name): bits for k, own in enumerate(given) for name, bits in own[c].items()} for c in range(longest)]
    outputs = Joined([hadamard_verilog(unit) for unit in units], hadamard.TOP).run(cycles)
    for k, unit in enumerate(units):
        counted = [out[k, "y"] for out, own in zip(outputs, given[k], strict=True) if own["enable"][0, 0]]
        words = counted[unit.latency : unit.latency + BLOCKS * unit.words]
        bits = unit.output_bits
        lanes = [[integers(word[bits * i : bits * (i + 1)]) for i in range(unit.lanes)] for word in words]
        got = np.array(lanes, dtype=object).reshape(BLOCKS, unit.block, BATCH).transpose(0, 2, 1)
        assert (got == values[k] @ sylvester(unit.block).T).all(), unit


def test_twice_transformed_is_block_times_as_much():
    """H H = b I: what lets a rotation be undone in the weights of the next layer."""
    matrix = sylvester(16)
    assert (matrix @ matrix == 16 * np.eye(16)).all()


@pytest.mark.parametrize(("pattern", "wrong"), [(r"word - 1'd0", "word - 1'd1"), (r" \^ \{5\{second0\}\}", "")])
def test_a_broken_transform_is_found_out(pattern, wrong):
    unit = HadamardUnit(2, 4, 1)
    values = blocks_of(unit, np.random.default_rng(0))
    text, changes = re.subn(pattern, wrong, hadamard_verilog(unit))
    assert changes
    cycles = cycles_of(unit, values, unit.latency)
    outputs = run(elaborate(text, hadamard.TOP), cycles)
    words = [out["y"] for out, own in zip(outputs, cycles, strict=True) if own["enable"][0, 0]][unit.latency :]
    got = np.array([integers(word) for word in words]).reshape(BLOCKS, 2, BATCH).transpose(0, 2, 1)
    assert (got != values @ sylvester(2).T).any()


FORMATS = ["int4", "uint4", "e2m1", "e1m4", "e3m2", "ue3m2", "e3m3", "fnuz_e4m3", "ocp_e5m2", "ue4m4"]


def steps(fmt):
    step = 1.0 if isinstance(fmt, IntFormat) else float(fmt.step)
    return np.array([int(v / step) if np.isfinite(v) else 0 for v in decode_all(fmt).tolist()], dtype=object)


def as_integers(bits, fmt):
    return integers(bits if fmt.signed else np.concatenate([bits, np.zeros_like(bits[:1])]))


def test_adds_and_pools_are_exact():
    """All pairs of codes (of a format of many, the nearest to zero and a random choice); windows of six values."""
    rng = np.random.default_rng(0)
    units = [build(parse_element(name)) for name in FORMATS for build in (AddUnit, *POOLS)]
    batch, data, previous = 4096, {}, {}
    for k, unit in enumerate(units):
        codes = finite_codes(unit.format)
        pairs = np.stack([each.ravel() for each in np.meshgrid(codes, codes)])
        data[k] = rng.choice(codes, (6, batch)) if isinstance(unit, PoolUnit) else np.resize(pairs, (2, batch))
        if not isinstance(unit, PoolUnit) and pairs.shape[1] > batch:
            data[k] = rng.choice(codes, (2, batch))
        previous[k] = np.ones((elementwise.result_bits(unit), batch), bool)
    joined = Joined([elementwise_verilog(unit) for unit in units], elementwise.TOP)
    for turn in range(6):
        cycle = {}
        for k, unit in enumerate(units):
            fmt = unit.format
            if isinstance(unit, PoolUnit):
                cycle |= {(k, "x"): bits_of(data[k][turn], fmt.bits), (k, "previous"): previous[k]}
                cycle[k, "first"] = np.full((1, batch), turn == 0)
            else:
                cycle |= {(k, port): bits_of(data[k][i], fmt.bits) for i, port in enumerate("ab")}
        last = joined.run([cycle, cycle])[-1]
        previous = {k: last[k, "y"] for k in range(len(units))}
    for k, unit in enumerate(units):
        values = steps(unit.format)[data[k]]
        wanted = values.max(axis=0) if getattr(unit, "kind", "") == "max" else values.sum(axis=0)
        assert (as_integers(previous[k], unit.format) == wanted).all(), unit


POOLS = (lambda fmt: PoolUnit(fmt, 6, "average"), lambda fmt: PoolUnit(fmt, 6, "max"))


def test_impossible_units_are_refused():
    for make, message in (
        (lambda: HadamardUnit(12, 4, 4), "`block` must be a power of two from 2 to 1024, but got block=12"),
        (lambda: HadamardUnit(8, 4, 16), "`lanes` must be a power of two of at most block=8, but got lanes=16"),
        (lambda: HadamardUnit(8, 0, 8), "`bits` must be 1 to 1024, but got bits=0"),
        (lambda: PoolUnit(IntFormat(4), 4, "median"), "the average or max of at least 1 value, but got kind='median'"),
    ):
        with pytest.raises(RtlError, match=re.escape(message)):
            make()
