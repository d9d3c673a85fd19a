"""FIFOs, width converters, forks, memories and the control of matrix-vector units, simulated in Icarus Verilog against Python."""

import random
import re
import shutil

import numpy as np
import pytest
from joined import bits_of, code_of
from streaming import streamed

from hwmodels.rtl import control, memory
from hwmodels.rtl.control import ControlUnit, control_verilog
from hwmodels.rtl.icarus import IcarusDesign
from hwmodels.rtl.memory import SLICE_MODELS, MemoryUnit, contents, memory_verilog
from hwmodels.rtl.stream import TOP, ConverterUnit, DuplicateUnit, FifoUnit, stream_verilog
from hwmodels.rtl.verilog import RtlError

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="needs iverilog on the PATH")

WORDS = 160


def words_of(width):
    rng = random.Random(width)
    return [rng.getrandbits(width) for _ in range(WORDS)]


def regrouped(words, width, wanted):
    """The same bits, low bits first, in words of another width."""
    whole = sum(word << width * i for i, word in enumerate(words))
    return [whole >> wanted * i & (1 << wanted) - 1 for i in range(len(words) * width // wanted)]


FIFOS = [
    FifoUnit(5, 2, "registers"),
    FifoUnit(5, 20, "srl"),
    FifoUnit(4, 70, "srl"),
    FifoUnit(5, 64, "block"),
    FifoUnit(3, 100, "block"),
]


@needs_icarus
@pytest.mark.parametrize("unit", FIFOS, ids=str)
@pytest.mark.parametrize("busy", [100, 50])
def test_fifos(unit, busy):
    words = words_of(unit.width)
    (found,), cycles = streamed(stream_verilog(unit), TOP, words, WORDS, busy)
    assert found == words
    if busy == 100:
        assert cycles <= WORDS + 3  # a word every cycle


@needs_icarus
@pytest.mark.parametrize("unit", FIFOS, ids=str)
def test_a_fifo_holds_the_words_it_says(unit):
    """Nobody takes a word: so many go in, and at least as many as the unit is deep."""
    text = stream_verilog(unit)
    count = unit.depth + 140
    never = {"clk": None, "out_ready": np.zeros((1, 1), bool), "in_data": np.zeros((unit.width, 1), bool)}
    cycle = {name: port for name, port in never.items() if port is not None} | {"in_valid": np.ones((1, 1), bool)}
    cycles = [cycle | {"reset": np.array([[i == 0]])} for i in range(count)]
    taken = sum(bool(out["in_ready"][0, 0]) for out in IcarusDesign(text, TOP).run(cycles, 0)[1:])
    assert unit.depth <= taken < count - 1


@needs_icarus
@pytest.mark.parametrize("pair", [(4, 12), (3, 24), (24, 3), (8, 4), (6, 4), (4, 6)], ids=str)
@pytest.mark.parametrize("busy", [100, 50])
def test_width_converters(pair, busy):
    given, wanted = pair
    words = words_of(given)
    expected = regrouped(words, given, wanted)
    (found,), cycles = streamed(stream_verilog(ConverterUnit(given, wanted)), TOP, words, len(expected), busy)
    assert found == expected
    if busy == 100:
        assert cycles <= max(WORDS, len(expected)) + 4  # the narrower side never waits


@needs_icarus
@pytest.mark.parametrize("copies", [2, 4])
@pytest.mark.parametrize("busy", [100, 40])
def test_forks(copies, busy):
    words = words_of(5)
    found, cycles = streamed(stream_verilog(DuplicateUnit(5, copies)), TOP, words, copies * WORDS, busy, copies)
    assert found == [words] * copies
    if busy == 100:
        assert cycles <= WORDS + 2


@needs_icarus
def test_a_broken_unit_is_found_out():
    words = words_of(5)
    text, changes = re.subn(r"full \? second : in_data", "in_data", stream_verilog(FIFOS[0]))
    assert changes
    assert streamed(text, TOP, words, WORDS, 50)[0] != [words]


def one(value, bits=1):
    return bits_of([value], bits)


@needs_icarus
@pytest.mark.parametrize(
    "unit", [MemoryUnit("rom", 5, 20), MemoryUnit("rom", 3, 300), MemoryUnit("rom", 4, 90, True)], ids=str
)
def test_read_only_memories(unit):
    bits = (unit.depth - 1).bit_length()
    order = random.Random(0).sample(range(unit.depth), unit.depth)
    cycles = [{"enable": one(1), "address": one(place, bits)} for place in [*order, 0]]
    outputs = IcarusDesign(memory_verilog(unit) + SLICE_MODELS, memory.TOP).run(cycles, 0)
    stored = contents(unit)
    assert [code_of(out["out"])[0] for out in outputs[1:]] == [stored[place] for place in order]


@needs_icarus
@pytest.mark.parametrize("kind", ["single", "dual"])
@pytest.mark.parametrize("block", [False, True])
def test_memories_that_are_written(kind, block):
    """Random reads and writes; one of a single address gives what is written, one of two ports what was there."""
    unit, rng = MemoryUnit(kind, 6, 20, block), random.Random(1)
    cycles, wanted, stored, last = [], [], dict.fromkeys(range(unit.depth)), None
    for turn in range(400):
        address, other, data = rng.randrange(unit.depth), rng.randrange(unit.depth), rng.getrandbits(unit.width)
        enable, write = rng.random() < 0.8, turn < unit.depth or rng.random() < 0.4
        if turn < unit.depth:
            address = other = turn
            enable = True
        cycles.append({"enable": one(enable), "address": one(address, 5), "write": one(write), "in_data": one(data, 6)})
        if kind == "dual":
            cycles[-1]["write_address"] = one(other, 5)
        passed = kind == "single" and write
        if enable:
            last = data if passed else stored[address]
        if write and (kind == "dual" or enable):
            stored[other if kind == "dual" else address] = data
        wanted.append(last)
    outputs = IcarusDesign(memory_verilog(unit), memory.TOP).run([*cycles, cycles[-1]], 0)
    for out, value in zip(outputs[1:], wanted, strict=True):
        assert value is None or code_of(out["out"])[0] == value


@needs_icarus
@pytest.mark.parametrize(
    "shape", [(5, 3, True), (8, 4, True), (6, 1, True), (1, 5, True), (3, 4, False), (1, 1, True)], ids=str
)
def test_control_of_a_matrix_vector_unit(shape):
    """Each group of rows takes every word; only the first takes them from the stream; nothing moves while a sum is not taken."""
    unit, rng, count = ControlUnit(*shape), random.Random(3), 400
    valid, ready = ([rng.random() < 0.7 for _ in range(count)] for _ in range(2))
    cycles = [{"reset": one(i == 0), "in_valid": one(valid[i]), "out_ready": one(ready[i])} for i in range(count)]
    outputs = IcarusDesign(control_verilog(unit), control.TOP).run(cycles, 0)
    place, sums, due, entered = 0, 0, [False] * unit.latency, (False, False)
    total = unit.words * unit.folds
    for i, out in enumerate(outputs[1:], 1):
        seen = {name: int(code_of(port)[0]) for name, port in out.items()}
        word, fold = place % unit.words, place // unit.words
        moves = not due[-1] or ready[i]
        takes = fold == 0 or not unit.buffered
        assert seen["out_valid"] == due[-1]
        assert (seen["word"], seen["address"]) == (word, place)
        assert (seen["move"], seen["in_ready"]) == (moves, moves and takes)
        assert seen["store"] == (moves and takes and valid[i])
        assert seen["enable"] == entered[0]
        assert not entered[0] or seen["clear"] == entered[1]
        if moves:
            steps = not takes or valid[i]
            sums += due[-1]
            due = [steps and word == unit.words - 1, *due[:-1]]
            entered = steps, word == 0
            place = (place + steps) % total
    assert sums > 400 // unit.words // 3


def test_impossible_units_are_refused():
    for make, message in (
        (lambda: FifoUnit(4, 3, "registers"), "a FIFO of registers holds 2 words, but got depth=3; use srl or block."),
        (
            lambda: FifoUnit(4, 8, "uram"),
            "a FIFO must be of registers, srl, block, at least 1 bit wide and 2 words deep",
        ),
        (lambda: ConverterUnit(4, 4), "a converter must be between two widths, but got 4 and 4."),
        (lambda: DuplicateUnit(4, 1), "a fork must have a width and at least 2 copies"),
        (lambda: MemoryUnit("fifo", 4, 8), "a memory must be of rom, single, dual and have words and bits"),
        (lambda: ControlUnit(0, 4), "a unit must have words, groups of rows and 2 cycles of latency"),
    ):
        with pytest.raises(RtlError, match=re.escape(message)):
            make()
