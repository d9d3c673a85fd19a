"""Transformer datapaths, written as Verilog and synthesized: how far the first-order models are off.

Needs Yosys, as the other tests of synthesis. Buffers between the passes are memories of their own and left out on both sides.
"""

import pytest

from hwmodels.devices import Family, get_device
from hwmodels.primitives import transformer
from hwmodels.primitives.cost import ceil_log2
from hwmodels.primitives.memory import lutram
from hwmodels.resources import Resources
from hwmodels.rtl.multiplier import Factor, multiplier_module
from hwmodels.synth import Design, synthesize_design

CAPACITY = get_device("xczu7ev").resources
WIDTH, CHANNELS, FRACTION = 8, 64, 16
SUM = 2 * WIDTH + ceil_log2(CHANNELS)
TOTAL = FRACTION + ceil_log2(CHANNELS)


def product(first: int, second: int) -> Resources:
    return transformer._product(first, second, None, "xcup")


def adder(width: int) -> Resources:
    return transformer._adder(width, "xcup")


NORM = f"""
module norm(input wire clk, first, input wire signed [7:0] x, held, input wire [15:0] root,
            output reg [{SUM - 1}:0] sum, output reg signed [23:0] y);
  wire [15:0] squared; wire signed [23:0] scaled; reg [15:0] square;
  square_mul s(.a(x), .b(x), .p(squared));
  scale_mul m(.a(held), .b(root), .p(scaled));
  always @(posedge clk) begin square <= squared; sum <= first ? square : sum + square; y <= scaled; end
endmodule
"""
SOFTMAX = f"""
module softmax(input wire clk, first, input wire signed [7:0] x, held, input wire [15:0] waited, reciprocal,
               input wire signed [7:0] largest, output reg signed [7:0] top, output reg [{TOTAL - 1}:0] sum, output reg [31:0] y);
  reg [7:0] below; reg [15:0] power; wire [31:0] scaled; wire [15:0] entry;
  powers t(.a(below), .p(entry));
  probability_mul m(.a(waited), .b(reciprocal), .p(scaled));
  always @(posedge clk) begin
    if (first || x > top) top <= x;
    below <= largest - held; power <= entry;
    sum <= first ? power : sum + power; y <= scaled;
  end
endmodule
"""
INVERSE = f"""
module inverse(input wire clk, load, input wire [1:0] phase, input wire [{TOTAL - 1}:0] x, output reg [15:0] y);
  reg [{TOTAL - 1}:0] n; reg [31:0] p; reg [15:0] t; wire [31:0] product; wire [15:0] guess;
  wire [{TOTAL - 1}:0] s0 = x, s1 = |s0[{TOTAL - 1}:{TOTAL - 16}] ? s0 : s0 << 16,
    s2 = |s1[{TOTAL - 1}:{TOTAL - 8}] ? s1 : s1 << 8, s3 = |s2[{TOTAL - 1}:{TOTAL - 4}] ? s2 : s2 << 4,
    s4 = |s3[{TOTAL - 1}:{TOTAL - 2}] ? s3 : s3 << 2,
    s5 = s4[{TOTAL - 1}] ? s4 : s4 << 1;
  guesses g(.a(n[{TOTAL - 2}:{TOTAL - 9}]), .p(guess));
  newton_mul m(.a(y), .b(phase[0] ? t : n[{TOTAL - 1}:{TOTAL - 16}]), .p(product));
  always @(posedge clk) begin
    if (load) n <= s5;
    p <= product; t <= -p[31:16];
    y <= load ? guess : phase[1] ? p[30:15] : y;
  end
endmodule
"""


DYNAMIC = """
module dynamic(input wire clk, first, input wire signed [15:0] x, held, input wire [15:0] reciprocal,
               output reg [15:0] top, output reg signed [31:0] y);
  wire [15:0] magnitude = x[15] ? ~x : x; wire signed [31:0] scaled;
  scale_mul m(.a(held), .b(reciprocal), .p(scaled));
  always @(posedge clk) begin if (first || magnitude > top) top <= magnitude; y <= scaled; end
endmodule
"""
SHIFTED = """
module shifted(input wire clk, first, input wire signed [15:0] x, held, input wire [3:0] by,
               output reg [15:0] top, output reg signed [15:0] y);
  wire [15:0] magnitude = x[15] ? ~x : x;
  always @(posedge clk) begin if (first || magnitude > top) top <= magnitude; y <= held << by; end
endmodule
"""


def table(name: str, values: list[int]) -> str:
    """A module with a table of 256 values of 16 bits."""
    cases = "".join(f"      8'd{i}: p = 16'd{value};\n" for i, value in enumerate(values))
    return (
        f"module {name}(input wire [7:0] a, output reg [15:0] p);\n  always @* case (a)\n{cases}  endcase\nendmodule\n"
    )


def multiplier(name: str, first: int, second: int, *, signed: tuple[bool, bool]) -> str:
    return multiplier_module(name, Factor(first, signed=signed[0]), Factor(second, signed=signed[1]))


def lane_of_a_dynamic_scale(power_of_two: bool) -> Resources:
    """What a second lane adds: buffers, reciprocal and control stay (of 2 values each, in the same memory)."""
    one, two = (
        transformer.dynamic_scale(
            16, 64, lanes, power_of_two=power_of_two, dsp=None, family="xcup", capacity=CAPACITY
        ).resources
        for lanes in (1, 2)
    )
    kept = [transformer._buffer(16 * lanes, 2 * 64 // lanes, CAPACITY) for lanes in (1, 2)]
    return Resources(lut=two.lut - one.lut - kept[1].lut + kept[0].lut, ff=two.ff - one.ff - kept[1].ff + kept[0].ff)


CASES = {
    "norm": (
        NORM
        + multiplier("square_mul", 8, 8, signed=(True, True))
        + multiplier("scale_mul", 8, 16, signed=(True, False)),
        product(WIDTH, WIDTH) + adder(SUM) + product(WIDTH, FRACTION),
    ),
    "softmax": (
        SOFTMAX
        + table("powers", [min(round(65536 * 2 ** (-i / 16)), 65535) for i in range(256)])
        + multiplier("probability_mul", 16, 16, signed=(False, False)),
        Resources(lut=WIDTH + lutram(FRACTION, 256), ff=FRACTION)
        + adder(WIDTH) * 2
        + adder(TOTAL)
        + product(FRACTION, FRACTION),
    ),
    "inverse": (
        INVERSE
        + table("guesses", [min(round(65536 * 256 / (256 + i)), 65535) for i in range(256)])
        + multiplier("newton_mul", 16, 16, signed=(False, False)),
        transformer._inverse(TOTAL, None, "xcup", CAPACITY),
    ),
    "dynamic": (DYNAMIC + multiplier("scale_mul", 16, 16, signed=(True, False)), lane_of_a_dynamic_scale(False)),
    "shifted": (SHIFTED, lane_of_a_dynamic_scale(True)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_synthesized_unit_is_as_large_as_the_model_says(name: str) -> None:
    text, model = CASES[name]
    made = synthesize_design(Design(text, Family.XCUP, name))
    assert model.lut == pytest.approx(made.lut_packed, rel=0.25), (
        "measured: 206 / 169, 366 / 344, 440 / 444, 272 / 250, 48 / 46"
    )
    assert model.ff == pytest.approx(made.ff, rel=0.30), "measured: 62 / 62, 86 / 86, 102 / 80, 48 / 48, 32 / 32"
    assert made.dsp == model.dsp == made.bram18 == model.bram18 == 0
