"""Dot products in DSP slices: PE rows of SIMD products, weights of several rows packed in a slice, sums in the cascade.

Each group of rows has SIMD slices, in cascades of `chain` slices. A slice multiplies the packed weights of its rows by one
activation; the cascade adds packed products, so that each field of its last slice holds a row's sum of `chain` products.
What a field borrowed from the next one is its sign: it goes to a carry input of the next row's adder tree, where it costs no
LUT. With one row a slice there is nothing to take apart, and if one cascade holds all products, its last slice is the
accumulator: no LUT at all.

Behind the multipliers is the register of the slices; from there to the accumulator everything is combinational.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.datapath import Datapath, Multiplier, Overflow
from hwmodels.formats import ElementFormat, IntFormat
from hwmodels.primitives.dsp_packing import SUM_BITS, Packing, packing
from hwmodels.primitives.operands import integer_grid
from hwmodels.rtl.accumulator import accumulator_module
from hwmodels.rtl.dsp_slice import SliceKind, slice_module
from hwmodels.rtl.multiplier import signed_bits
from hwmodels.rtl.unit import MOST_LANES, TOP
from hwmodels.rtl.verilog import RtlError, add, extended, module, vector


@dataclass(frozen=True)
class DspUnit:
    """`pe` dot products of `simd` products per cycle in DSP slices, each added to an accumulator of P bits.

    Args:
        datapath: integer formats, signed weights, and the accumulator; DSP multipliers.
        lanes, chain: rows in a slice and products in a cascade; None: as :func:`packing` chooses.

    Ports: as of :class:`hwmodels.rtl.unit.DotUnit`, with all rows' weights (row 0 in the lowest bits, its lane 0 lowest) and
    all rows' sums.
    """

    datapath: Datapath
    dsp: SliceKind
    pe: int
    simd: int
    lanes: int | None = None
    chain: int | None = None

    def __post_init__(self) -> None:
        if not (1 <= self.pe <= MOST_LANES and 1 <= self.simd <= MOST_LANES):
            raise RtlError(f"pe and simd must be 1 to {MOST_LANES}, but got pe={self.pe}, simd={self.simd}.")
        if self.datapath.multiplier is not Multiplier.DSP:
            raise RtlError(
                f"a DSP unit must have multiplier=dsp, but got multiplier={self.datapath.multiplier}; use DotUnit."
            )
        bits = signed_bits(self.packing.low, self.packing.high)[0]
        # a proof is about the actual weights: it may fit sums in fewer bits than a product of the largest codes
        if self.bits < bits and self.overflow is not Overflow.IMPOSSIBLE:
            raise RtlError(
                f"the accumulator must hold at least one product, {bits} bits for {self.weight} x {self.activation}, but got "
                f"bits={self.bits}."
            )

    @property
    def weight(self) -> IntFormat:
        """Format of the weights."""
        return _integer(self.datapath.weight.format)

    @property
    def activation(self) -> IntFormat:
        """Format of the activations."""
        return _integer(self.datapath.activation.format)

    @property
    def bits(self) -> int:
        """P."""
        return self.datapath.accumulator.bits

    @property
    def overflow(self) -> Overflow:
        """What the accumulator does with a sum that it cannot hold; impossible is built as wrap."""
        return self.datapath.accumulator.overflow

    @property
    def packing(self) -> Packing:
        """Lanes, their spacing, and products per cascade."""
        given = {"lanes": self.lanes, "chain": self.chain}
        return packing(self.weight, self.activation, self.dsp, pe=self.pe, simd=self.simd, **given)

    @property
    def word_bits(self) -> int:
        """Width of the packed weights; one bit more where all fields can borrow from a most negative weight."""
        packed = self.packing
        return (packed.lanes - 1) * packed.spacing + self.weight.bits + int(packed.lanes > 1 and not self.weight.narrow)

    @property
    def groups(self) -> int:
        """Groups of rows that share slices."""
        return -(-self.pe // self.packing.lanes)

    @property
    def cascades(self) -> int:
        """Cascades of each group: what a row's adder tree adds."""
        return -(-self.simd // self.packing.chain)

    @property
    def slices(self) -> int:
        """DSP slices."""
        return self.groups * self.simd

    @property
    def in_slices(self) -> bool:
        """Whether the last slice of each cascade is the accumulator of a row."""
        whole = self.packing.lanes == 1 and self.cascades == 1
        return whole and self.bits <= SUM_BITS[self.dsp] and self.overflow is not Overflow.SATURATE

    def rows(self, group: int) -> range:
        """The rows of a group."""
        return range(group * self.packing.lanes, min((group + 1) * self.packing.lanes, self.pe))

    def products(self, cascade: int) -> range:
        """The products (lanes of SIMD) of a cascade."""
        return range(cascade * self.packing.chain, min((cascade + 1) * self.packing.chain, self.simd))


def _integer(fmt: ElementFormat) -> IntFormat:
    grid = integer_grid(fmt)
    if not isinstance(grid, IntFormat):
        raise RtlError(f"a DSP unit multiplies integers, but got {fmt}; use multiplier=lut.")
    return grid


def dsp_unit_verilog(unit: DspUnit, *, primitive: bool = False) -> str:
    """The synthesizable text of a unit, top module :data:`hwmodels.rtl.unit.TOP`.

    Args:
        primitive: slices are instances of the vendor's cell; else behavioural Verilog that any simulator reads.
    """
    header = (
        f"// {unit.pe} dot products of {unit.simd} lanes: {unit.weight} weights x {unit.activation} activations in "
        f"{unit.slices} {unit.dsp}, accumulators of {unit.bits} bits ({unit.overflow})\n"
    )
    factor = unit.activation.bits + int(not unit.activation.signed)
    parts = [slice_module(f"{TOP}_slice", unit.dsp, unit.word_bits, factor, primitive=primitive)]
    if not unit.in_slices:
        for borrows in (False, True)[: min(unit.packing.lanes, 2)]:
            parts += [_row_module(unit, borrows=borrows), _accumulator(unit, borrows=borrows)]
    return header + "\n".join([*parts, _top(unit)])


def field_sum_type(packed: Packing, leaves: int, borrows: int, limit: int | None) -> tuple[int, bool]:
    """(bits, signed) of the sum of so many fields to which so many ones are still to be added, modulo 2^limit if given."""
    bits, signed = signed_bits(leaves * packed.chain * packed.low - borrows, leaves * packed.chain * packed.high)
    return (bits if limit is None else min(bits, limit)), signed


def _sum_type(unit: DspUnit, leaves: int, borrows: int) -> tuple[int, bool]:
    limit = None if unit.overflow is Overflow.SATURATE else unit.bits
    return field_sum_type(unit.packing, leaves, borrows, limit)


def _suffix(borrows: bool) -> str:
    return "_borrow" if borrows else ""


def _row_module(unit: DspUnit, *, borrows: bool) -> str:
    """The adder tree of a row: ports y (its fields, cascade 0 lowest), n (what they borrowed) and c (the one left over), sum."""
    count, width = unit.cascades, unit.packing.field_bits
    bits, _ = _sum_type(unit, count, int(borrows))
    ports = [f"input wire {vector(width * count)} y", f"output wire {vector(bits)} sum"]
    ports += [f"input wire {vector(count)} n", "output wire c"] if borrows else []
    lines: list[str] = []
    level: list[tuple[str, int, tuple[str, ...]]] = []
    for i in range(count):
        lines.append(f"wire {vector(width)} y{i} = y[{i * width + width - 1}:{i * width}];")
        level.append((f"y{i}", 1, (f"n[{i}]",) if borrows else ()))
    adders = 0
    while len(level) > 1:
        above = []
        for (left, here, first), (right, there, second) in zip(level[::2], level[1::2], strict=False):
            carry, *rest = (*first, *second) or (None,)
            want, _ = _sum_type(unit, here + there, len(rest))
            a, b = (
                extended(name, width if leaves == 1 else _sum_type(unit, leaves, len(ones))[0], want, signed=True)
                for name, leaves, ones in ((left, here, first), (right, there, second))
            )
            lines += add(f"a{adders}", want, a, b, carry, keep=True)
            above.append((f"a{adders}", here + there, tuple(one for one in rest if one is not None)))
            adders += 1
        level = above + level[len(level) & ~1 :]
    name, _, ones = level[0]
    have = width if count == 1 else bits
    lines.append(f"assign sum = {extended(name, have, bits, signed=True)};")
    lines += [f"assign c = {one};" for one in ones]
    return module(f"{TOP}_row{_suffix(borrows)}", ports, lines)


def _accumulator(unit: DspUnit, *, borrows: bool) -> str:
    summand = _sum_type(unit, unit.cascades, int(borrows))
    return accumulator_module(f"{TOP}_acc{_suffix(borrows)}", unit.bits, unit.overflow, summand, carry=borrows)


def _top(unit: DspUnit) -> str:
    w, x, p = unit.weight.bits, unit.activation.bits, unit.bits
    ports = ["input wire clk", "input wire clear", "input wire enable"]
    ports += [
        f"input wire {vector(w * unit.pe * unit.simd)} weights",
        f"input wire {vector(x * unit.simd)} activations",
    ]
    ports += [f"output wire {vector(p * unit.pe)} sum"]
    lines = ["reg clear_q, enable_q;", "always @(posedge clk) {clear_q, enable_q} <= {clear, enable};"]
    for group in range(unit.groups):
        for cascade in range(unit.cascades):
            lines += _cascade(unit, group, cascade)
        if not unit.in_slices:
            lines += _split(unit, group)
    return module(TOP, ports, lines)


def _weight(unit: DspUnit, row: int, lane: int, bit: int, bits: int = 1) -> str:
    """`bits` bits of a weight from `bit` up."""
    low = (row * unit.simd + lane) * unit.weight.bits + bit
    return f"weights[{low + bits - 1}:{low}]"


def _packed(unit: DspUnit, rows: range, lane: int) -> tuple[str, str]:
    """(d, a) of a slice: low bits and signs of the weights of `rows`, in their places; d - a are the packed weights."""
    spacing, sign = unit.packing.spacing, unit.weight.bits - 1
    low: list[str] = []
    signs: list[str] = []
    above = unit.word_bits
    for index in reversed(range(len(rows))):
        place, row = index * spacing, rows[index]
        free = above - place - sign
        low += [f"{free}'d0", _weight(unit, row, lane, 0, sign)]
        signs += [f"{free - 1}'d0"] * (free > 1) + [_weight(unit, row, lane, sign), f"{sign}'d0"]
        above = place
    return f"{{{', '.join(low)}}}", f"{{{', '.join(signs)}}}"


def _cascade(unit: DspUnit, group: int, cascade: int) -> list[str]:
    """The slices of one cascade; its sum is p{group}_{cascade}, or goes straight to the output where it accumulates."""
    rows, lanes, x = unit.rows(group), unit.products(cascade), unit.activation.bits
    at = f"{group}_{cascade}"
    lines = [f"wire [47:0] p{at};"]
    carried = "48'd0"
    for lane in lanes:
        d, a = _packed(unit, rows, lane)
        start = lane * x
        code = f"activations[{start + x - 1}:{start}]"
        b = code if unit.activation.signed else f"{{1'b0, {code}}}"
        first, last = lane == lanes.start, lane == lanes[-1]
        feedback = f"p{at}" if first and unit.in_slices else "48'd0"
        link = f"k{group}_{lane}"
        lines.append(f"wire [47:0] {link};")
        result = f", .p(p{at})" if last else ""
        control = ".clk(clk), .clear(clear_q), .enable(enable_q)"
        parameters = f".FIRST({int(first)}), .LAST({int(last and unit.in_slices)})"
        lines.append(f"{TOP}_slice #({parameters}) slice{group}_{lane} ({control}, .d({d}), .a({a}), .b({b}),")
        lines.append(f"    .c({feedback}), .pcin({carried}), .pcout({link}){result});")
        carried = link
    if unit.in_slices:
        lines.append(f"assign sum[{group * unit.bits + unit.bits - 1}:{group * unit.bits}] = p{at}{vector(unit.bits)};")
    return lines


def _split(unit: DspUnit, group: int) -> list[str]:
    """The fields of a group's cascades, and each row's tree and accumulator."""
    packed, width = unit.packing, unit.packing.field_bits
    rows, p = unit.rows(group), unit.bits
    lines: list[str] = []
    for index, row in enumerate(rows):
        place, top = index * packed.spacing, index + 1 == len(rows)
        fields = []
        for cascade in range(unit.cascades):
            source = f"p{group}_{cascade}"
            name = f"f{row}_{cascade}"
            if packed.overlaps and not top:
                lines += _parity(unit, row + 1, cascade)
                own = f"{source}[{place + packed.spacing - 1}:{place}]"
                shared = f"{source}[{place + packed.spacing}] ^ t{row + 1}_{cascade}"
                lines.append(f"wire {vector(width)} {name} = {{{shared}, {own}}};")
            else:
                lines.append(f"wire {vector(width)} {name} = {source}[{place + width - 1}:{place}];")
            fields.append(name)
        borrows = index > 0
        bits, _ = _sum_type(unit, unit.cascades, int(borrows))
        lines.append(f"wire {vector(bits)} s{row};")
        tree = f".y({{{', '.join(reversed(fields))}}}), .sum(s{row})"
        acc = f".clk(clk), .clear(clear_q), .enable(enable_q), .t(s{row}), .sum(sum[{row * p + p - 1}:{row * p}])"
        if borrows:
            signs = ", ".join(f"f{row - 1}_{cascade}[{width - 1}]" for cascade in reversed(range(unit.cascades)))
            lines.append(f"wire c{row};")
            tree, acc = f"{tree}, .n({{{signs}}}), .c(c{row})", f"{acc}, .c(c{row})"
        lines.append(f"{TOP}_row{_suffix(borrows)} row{row} ({tree});")
        lines.append(f"{TOP}_acc{_suffix(borrows)} acc{row} ({acc});")
    return lines


def _parity(unit: DspUnit, row: int, cascade: int) -> list[str]:
    """A register with the lowest bit of a row's sum of products in a cascade: what it adds to the bit it shares."""
    x, name = unit.activation.bits, f"t{row}_{cascade}"
    odd = [f"({_weight(unit, row, lane, 0)} & activations[{lane * x}])" for lane in unit.products(cascade)]
    return [f"reg {name};", f"always @(posedge clk) {name} <= {' ^ '.join(odd)};"]
