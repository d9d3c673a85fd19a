"""Requantizers, simulated: every form and kind of output against the codec's rounding of exact rationals."""

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joined import Joined, bits_of, code_of

from hwmodels.catalog import parse_element
from hwmodels.codec import decode, round_value
from hwmodels.formats import E8M0, IntFormat
from hwmodels.rtl.constant import constant_chains, signed_digits
from hwmodels.rtl.multiplier import Factor
from hwmodels.rtl.requantize import TOP, RequantizeUnit, ScaleForm, clipping_unit, requantize_verilog
from hwmodels.rtl.simulate import elaborate, run
from hwmodels.rtl.thresholds import TOP as SEARCH
from hwmodels.rtl.thresholds import ThresholdUnit, search_thresholds, thresholds_verilog
from hwmodels.rtl.verilog import RtlError, module, ports_of, table, vector

FORMS = [form for form in ScaleForm if form is not ScaleForm.TABLE]
OUTPUTS = ["int4", "uint4", "int5_narrow", "uint3_narrow", "int2", "uint1", "int8"]
OUTPUTS += ["e2m1", "e3m2", "e3m0", "e1m2", "ue2m2", "ocp_e4m3", "ocp_e5m2", "fnuz_e4m3", "ieee_e3m4"]
SCALE_PORT = {ScaleForm.MULTIPLIER: 16, ScaleForm.SHIFTER: 4}
BATCH = 1024


def value_of(fmt, x):
    """What a code must stand for, of a number in units of the format's step."""
    return float(round_value(fmt, x * (1 if isinstance(fmt, IntFormat) else fmt.step)))


def expected(unit, sums, biases, scales):
    found = []
    for total, bias, scale in zip(sums.tolist(), biases.tolist(), scales.tolist(), strict=True):
        factor = {ScaleForm.MULTIPLIER: scale, ScaleForm.SHIFTER: 1 << scale, ScaleForm.WIRES: 1}.get(
            unit.form, unit.value
        )
        found.append(value_of(unit.output, (total + bias * unit.bias) * factor / Fraction(2) ** unit.shift))
    return found


def vectors(unit, rng):
    """Sums of every order of magnitude, all of them where they are few; both ends of every port; biases small and large."""
    low, high = -(1 << unit.sum_bits - 1), (1 << unit.sum_bits - 1) - 1
    if unit.sum_bits <= 10:
        sums = np.resize(np.arange(low, high + 1), BATCH)
    else:
        reach = 1 << rng.integers(0, unit.sum_bits, BATCH)
        sums = np.clip((rng.random(BATCH) * 2 * reach - reach).astype(np.int64), low, high)
        sums[:4] = low, high, low, high
    biases = np.where(rng.random(BATCH) < 0.5, rng.integers(-3, 3, BATCH), rng.integers(low, high + 1, BATCH) >> 2)
    biases = np.clip(biases, low, high)
    biases[:4] = low, high, high, low
    scales = rng.integers(0, 1 << SCALE_PORT.get(unit.form, 1), BATCH)
    scales[:4] = (1 << SCALE_PORT.get(unit.form, 1)) - 1
    return sums, biases, scales


def stimulus(units, inputs):
    """Ports of one cycle of every unit, but `start`."""
    ports = {}
    for k, (unit, (sums, biases, scales)) in enumerate(zip(units, inputs, strict=True)):
        ports[k, "sum"] = bits_of(sums, unit.sum_bits)
        if unit.bias:
            ports[k, "bias"] = bits_of(biases, unit.sum_bits)
        if unit.form in SCALE_PORT:
            ports[k, "scale"] = bits_of(scales, SCALE_PORT[unit.form])
    return ports


def check(units):
    rng = np.random.default_rng(len(units))
    inputs = [vectors(unit, rng) for unit in units]
    held, passes = stimulus(units, inputs), units[0].passes
    assert {unit.passes for unit in units} == {passes}
    cycles = [held] * 4
    if passes > 1:
        flags = [True, *[False] * (passes - 1)] * 2 + [False]
        cycles = [held | {(k, "start"): np.full((1, BATCH), flag) for k in range(len(units))} for flag in flags]
    last = Joined([requantize_verilog(unit) for unit in units], TOP).run(cycles)[-1]
    for k, unit in enumerate(units):
        codes = code_of(last[k, "y"])
        got = [decode(unit.output, int(code)) for code in codes]
        assert got == expected(unit, *inputs[k]), unit


def unit(output, form, sum_bits, clip=1, bias=True, passes=1, value=None):
    return clipping_unit(sum_bits, parse_element(output), form, clip=clip, bias=bias, passes=passes, value=value)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_output_by_every_form_of_scale(form):
    """Clipped by 0 to 2 powers of two; with and without a bias; sums of 9 bits are all tried."""
    value = 46341 if form is ScaleForm.CONSTANT else None
    outputs = OUTPUTS if form is not ScaleForm.MULTIPLIER else OUTPUTS[::3]  # rounding is the same, products take time
    units = [unit(o, form, 9 + 5 * (k % 2), k % 3, bias=k % 5 > 0, value=value) for k, o in enumerate(outputs)]
    check(units)


@pytest.mark.parametrize("passes", [2, 3, 16])
def test_products_of_several_passes(passes):
    made = [unit(o, ScaleForm.MULTIPLIER, 11, passes=passes) for o in ("int4", "uint8", "ocp_e4m3", "ue2m2")]
    made.append(unit("e2m1", ScaleForm.CONSTANT, 10, bias=False, passes=passes, value=51781))
    check(made)


def test_tables_and_shifts_to_the_left():
    made = [unit(o, ScaleForm.TABLE, 7, bias=False, value=51781) for o in ("int4", "uint3_narrow", "e3m2", "fnuz_e4m3")]
    made += [
        RequantizeUnit(8, parse_element(o), ScaleForm.WIRES, shift)
        for o in ("int8", "finite_e5m2")
        for shift in (-3, 0, 1)
    ]
    check(made)


def test_the_synthesized_netlist_rounds_alike():
    made = unit("ocp_e4m3", ScaleForm.MULTIPLIER, 7, passes=4)
    inputs = vectors(made, np.random.default_rng(0))
    held = {name: bits for (_, name), bits in stimulus([made], [inputs]).items()}
    cycles = [held | {"start": np.full((1, BATCH), cycle % 4 == 0)} for cycle in range(6)]
    last = run(elaborate(requantize_verilog(made), TOP, family="xcup"), cycles)[-1]
    assert [decode(made.output, int(code)) for code in code_of(last["y"])] == expected(made, *inputs)


@pytest.mark.parametrize(
    ("pattern", "wrong"),
    [
        (r"~z1 & n1\[\d+\]", "~z1"),
        (r"\(n1\[(\d+)\] \| ", "(1'b1 | "),
        (r"z2 \? ", "~z2 ? "),
        (r"sign \? |& \{9\{sign\}\}|\^ \{", "& {"),
    ],
)
def test_a_broken_requantizer_is_found_out(pattern, wrong):
    made = unit("e2m1", ScaleForm.WIRES, 9, bias=False)
    text, inputs = requantize_verilog(made), vectors(made, np.random.default_rng(0))
    broken, changes = re.subn(pattern, wrong, text)
    assert changes
    cycles = [{name: bits for (_, name), bits in stimulus([made], [inputs]).items()}] * 3
    codes = code_of(run(elaborate(broken, TOP), cycles)[-1]["y"])
    assert [decode(made.output, int(code)) for code in codes] != expected(made, *inputs)


def with_memories(made, thresholds, top):
    """A search together with the memories of its thresholds, as a module without other ports."""
    bits, wide, lines = made.output.bits, made.threshold_bits, []
    own = ports_of(thresholds_verilog(made), SEARCH)
    for stage, address in enumerate(made.address_bits):
        before, words = stage * made.passes, []
        for word in range(1 << address):
            # above one pass the low bits are a 1 and what the stage has found
            inner = word & ((1 << made.passes) - 1) if made.passes > 1 else 1
            known = max(inner.bit_length() - 1, 0)
            prefix = (word >> made.passes if made.passes > 1 else word) << known | inner & ((1 << known) - 1)
            index = (2 * prefix + 1) << (bits - 1 - before - known) if before + known < bits else 1
            words.append(thresholds[index - 1] if inner else 0)
        if address:
            lines += [f"wire {vector(address)} address{stage};", f"reg {vector(wide)} read{stage}, threshold{stage};"]
            lines += table(f"read{stage}", f"address{stage}", address, words, wide)
            lines.append(f"always @(posedge clk) threshold{stage} <= read{stage};")
        else:
            lines.append(f"wire {vector(wide)} threshold{stage} = {wide}'d{words[0] % (1 << wide)};")
    outer = {name: each for name, each in own.items() if not name.startswith(("threshold", "address"))}
    ports = [f"{kind} wire {vector(size)} {name}" for name, (kind, size) in outer.items()]
    wires = ", ".join(f".{name}({name})" for name in own)
    inside = thresholds_verilog(made).replace(SEARCH, f"{top}_search")
    return inside + module(top, ports, [*lines, f"{top}_search search ({wires});"])


SEARCHES = [("int4", 1), ("int4", 2), ("uint4", 4), ("int3_narrow", 1), ("uint3_narrow", 3), ("e2m1", 2), ("e3m0", 1)]
SEARCHES += [("ocp_e4m3", 1), ("fnuz_e4m3", 4), ("ieee_e3m4", 8), ("ue2m2", 1), ("uint1", 1)]


@pytest.mark.parametrize("serial", [False, True])
def test_thresholds_give_the_codes_of_their_scale(serial):
    """All sums of 9 bits, scales that use a part of the format and that clip; batches of equal passes start together."""
    for passes in sorted({p for _, p in SEARCHES if (p > 1) == serial}):
        made = [ThresholdUnit(9, parse_element(name), passes) for name, p in SEARCHES if p == passes]
        scales = [Fraction(each.output.max_code, (150, 400)[k % 2]) for k, each in enumerate(made)]

        def scaled(k, total, made=made, scales=scales):
            fmt = made[k].output
            return (total * scales[k] + Fraction(1, 7)) * (1 if isinstance(fmt, IntFormat) else fmt.step)

        texts = [
            with_memories(each, search_thresholds(each, lambda total, k=k: scaled(k, total)), "search")
            for k, each in enumerate(made)
        ]
        sums = np.arange(-256, 256)
        held = {(k, "sum"): bits_of(sums, 9) for k in range(len(made))}
        stages = max(len(each.address_bits) for each in made)
        flags = [c % passes == 0 for c in range(passes * (stages + 2))] if serial else [None] * (2 * stages + 2)
        cycles = [
            held | ({} if flag is None else {(k, "start"): np.full((1, 512), flag) for k in range(len(made))})
            for flag in flags
        ]
        last = Joined(texts, "search").run(cycles)[-1]
        for k, each in enumerate(made):
            got = [decode(each.output, int(code)) for code in code_of(last[k, "y"])]
            assert got == [float(round_value(each.output, scaled(k, total))) for total in sums.tolist()], each


@given(st.integers(1, 1 << 20))
def test_signed_digits_are_the_value_and_few(value):
    digits = signed_digits(value)
    assert sum(digit << position for position, digit in digits) == value
    assert [position for position, _ in digits] == sorted({position for position, _ in digits})
    assert len(digits) <= value.bit_length() // 2 + 2
    assert [digit for _, digit in digits[:2]] != [-1, -1]


def test_mean_adders_of_a_constant_are_those_of_all_mantissas():
    """What the cost model takes for a constant that it does not know: every 37th normalized mantissa."""
    from hwmodels.primitives import requantize

    for operand, extra in (
        (Factor(20, True), requantize.CONSTANT_SIGNED_BITS),
        (Factor(20, False), requantize.CONSTANT_UNSIGNED_BITS),
    ):
        counts = [constant_chains(operand, value) for value in range(32769, 65536, 37)]
        assert np.mean([len(chains) for chains, _ in counts]) == pytest.approx(requantize.CONSTANT_ADDERS, abs=0.01)
        assert np.mean([luts for _, luts in counts]) == pytest.approx(
            requantize.CONSTANT_ADDERS * (20 + extra), rel=1e-3
        )


def test_impossible_requantizers_are_refused():
    int4 = parse_element("int4")
    for wrong, message in (
        ({"sum_bits": 1}, "reads sums of 2 to 2048 bits, but got sum_bits=1"),
        (
            {"form": ScaleForm.CONSTANT},
            "`value` must be 1 to 65535 if and only if the scale is a constant or in a table",
        ),
        ({"value": 3}, "but got form=wires, value=3"),
        ({"form": ScaleForm.TABLE, "value": 1}, "a table takes sums of at most 8 bits without a bias"),
        ({"passes": 2}, "`passes` must be 1 to 16 for a multiplier or constant and 1 otherwise"),
        ({"output": E8M0}, "rounds to formats with a zero, but got e8m0"),
    ):
        with pytest.raises(RtlError, match=re.escape(message)):
            RequantizeUnit(**{"sum_bits": 12, "output": int4, "form": ScaleForm.WIRES, "shift": 4} | wrong)
    with pytest.raises(RtlError, match=re.escape("`passes` must divide the 4 bits of int4, but got passes=3")):
        ThresholdUnit(8, int4, 3)
