"""One DSP slice that multiplies and adds: as behavioural Verilog with `*`, or as an instance of the vendor's primitive.

Both have the same module: M = (d - a) * b, a register behind the multiplier, p = M + z. The first slice of a cascade adds
z = c, or 0 where `clear` is given; the others add what the slice before hands on by `pcin`. The last of an accumulating
cascade has a register behind the adder.

`d - a` is the pre-adder: a signed W-bit weight is d minus a, with d its low W - 1 bits and a its sign bit in place, so that
weights are packed side by side by wires alone. Configuration from UG479 (tables 2-1, 2-2, 2-7: INMODE 01100 is D - A;
OPMODE Z = 011 is C, 001 is PCIN, 000 is zero, X = Y = 01 the product) and UG579 (the same codes, OPMODE of nine bits).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from hwmodels.primitives.dsp_packing import ACTIVATION_PORT_BITS, MULTIPLIER_PORT_BITS, SUM_BITS
from hwmodels.rtl.verilog import extended, vector

SliceKind = Literal["DSP48E1", "DSP48E2"]
A_BITS = 30
"""Width of the A port; the pre-adder and the multiplier take its low 25 or 27 bits."""

_PORTS = """module {name} #(parameter FIRST = 1, parameter LAST = 0) (
    input wire clk, input wire clear, input wire enable,
    input wire {wide} d, input wire {wide} a, input wire {narrow} b, input wire [47:0] c, input wire [47:0] pcin,
    output wire [47:0] p, output wire [47:0] pcout
);
"""

_BEHAVIOUR = """    wire signed {wide} ad = d - a;
    reg signed {product} m;
    always @(posedge clk) m <= ad * $signed(b);
    wire [47:0] z = FIRST ? (clear ? 48'd0 : c) : pcin;
    wire [47:0] total = z + {extended};
    generate if (LAST) begin : register
        reg [47:0] held;
        always @(posedge clk) if (enable) held <= total;
        assign p = held;
    end else assign p = total;
    endgenerate
    assign pcout = p;
endmodule
"""

_INSTANCE = """    {kind} #(
        {parameters}
    ) slice (
        {ports}
    );
endmodule
"""

_UNUSED_REGISTERS = ("A", "ACASC", "AD", "ALUMODE", "B", "BCASC", "C", "CARRYIN", "CARRYINSEL", "D", "INMODE", "OPMODE")
_OWN: Mapping[SliceKind, Mapping[str, str]] = {
    "DSP48E1": {"USE_DPORT": '"TRUE"'},
    "DSP48E2": {"AMULTSEL": '"AD"'},
}
"""Parameter that puts the pre-adder in front of the multiplier."""

_OPMODE_HIGH: Mapping[SliceKind, str] = {"DSP48E1": "", "DSP48E2": "2'b00, "}
"""OPMODE bits above the seven that both slices have: the W multiplexer of DSP48E2, at zero."""

_OFF: tuple[str, ...] = (
    *("CEA1", "CEA2", "CEAD", "CEALUMODE", "CEB1", "CEB2", "CEC", "CECARRYIN", "CECTRL", "CED", "CEINMODE"),
    *("CARRYCASCIN", "CARRYIN", "MULTSIGNIN"),
)
_RESETS = ("RSTA", "RSTALLCARRYIN", "RSTALUMODE", "RSTB", "RSTC", "RSTCTRL", "RSTD", "RSTINMODE", "RSTM", "RSTP")


def slice_module(name: str, kind: SliceKind, word_bits: int, activation_bits: int, *, primitive: bool) -> str:
    """Verilog of a slice with the parameters FIRST and LAST; `primitive` instantiates the vendor's cell.

    Ports: clk, clear, enable (of the register of the last one), d and a (`word_bits` each; their difference is signed), b
    (signed, `activation_bits`), c, pcin, p, pcout.
    """
    head = _PORTS.format(name=name, wide=vector(word_bits), narrow=vector(activation_bits))
    if not primitive:
        product = word_bits + activation_bits
        m = extended("m", product, SUM_BITS[kind], signed=True)
        return head + _BEHAVIOUR.format(wide=vector(word_bits), product=vector(product), extended=m)
    parameters = {**{f"{register}REG": "0" for register in _UNUSED_REGISTERS}, "MREG": "1", "PREG": "LAST"}
    parameters |= {"USE_MULT": '"MULTIPLY"', "USE_SIMD": '"ONE48"', "A_INPUT": '"DIRECT"', "B_INPUT": '"DIRECT"'}
    ports = {
        "CLK": "clk",
        "A": extended("a", word_bits, A_BITS, signed=False),
        "B": extended("b", activation_bits, ACTIVATION_PORT_BITS[kind], signed=True),
        "C": "c",
        "D": extended("d", word_bits, MULTIPLIER_PORT_BITS[kind], signed=False),
        "PCIN": "pcin",
        "P": "p",
        "PCOUT": "pcout",
        "INMODE": "5'b01100",
        "OPMODE": f"{{{_OPMODE_HIGH[kind]}1'b0, FIRST ? {{2{{~clear}}}} : 2'b01, 4'b0101}}",
        "ALUMODE": "4'd0",
        "CARRYINSEL": "3'd0",
        "ACIN": "30'd0",
        "BCIN": "18'd0",
        "CEM": "1'b1",
        "CEP": "enable",
        **dict.fromkeys((*_OFF, *_RESETS), "1'b0"),
    }
    return head + _INSTANCE.format(
        kind=kind,
        parameters=", ".join(f".{key}({value})" for key, value in {**parameters, **_OWN[kind]}.items()),
        ports=",\n        ".join(f".{key}({value})" for key, value in ports.items()),
    )
