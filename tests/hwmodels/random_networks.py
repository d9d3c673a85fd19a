"""Random networks, numerics and foldings for property tests of whole estimates."""

from hypothesis import strategies as st
from networks import conv_window

from hwmodels.catalog import parse_format
from hwmodels.datapath import Accumulator, Overflow, parse_scaling, tensor_quant
from hwmodels.ops import (
    Add,
    Depthwise,
    Duplicate,
    Folding,
    LayerNumerics,
    MatMul,
    MatVec,
    Multiply,
    Network,
    Norm,
    Normalize,
    Numerics,
    Operator,
    Pool,
    Requantize,
    Rope,
    Rotate,
    Softmax,
    Table,
    divisors,
)

INTEGERS = ("int2", "int4", "int5_narrow", "int8")
WEIGHTS = (*INTEGERS, "e2m1", "e3m2", "e1m2", "mxfp4_e2m1")
SITES = ("uint2", "uint4", "int8", "e2m1", "e4m0")


class _Builder:
    """Grows a network operator by operator; sizes stay small so that every divisor is met."""

    def __init__(self, draw) -> None:
        self.draw, self.operators, self.count = draw, [], 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def requantize(self, source: str, channels: int, size: int, site: str | None = None) -> str:
        site = site or self.name("site")
        self.operators.append(Requantize(f"{source}.requantize{self.count}", source, channels, size * size, site))
        return site

    def layer(
        self, site: str, channels: int, size: int, into: str | None = None, outputs: int | None = None
    ) -> tuple[str, int]:
        """A dense or depthwise layer with or without window; (its output site, channels)."""
        kind = self.draw(
            st.sampled_from(("dense", "pointwise", "depthwise") if outputs is None else ("dense", "pointwise"))
        )
        name, out = self.name(kind), outputs or self.draw(st.sampled_from((2, 6, 8)))
        if kind != "pointwise":
            self.operators.extend(conv_window(name, channels, size + 2, size, 1, site, kind == "depthwise"))
        if kind == "depthwise":
            self.operators.append(Depthwise(name, channels, 9, size * size, site))
            out = channels
        else:
            cols = channels * (9 if kind == "dense" else 1)
            self.operators.append(MatVec(name, out, cols, size * size, site))
        return self.requantize(name, out, size, into), out

    def residual(self, site: str, channels: int, size: int, depth: int) -> str:
        """A fork, one to two layers (or a residual block inside), a shortcut, an add."""
        fork, summed = self.name("fork"), self.name("summed")
        self.operators.append(Duplicate(fork, channels, size * size, 2, site))
        inner = site
        if depth and self.draw(st.booleans()):
            inner, _ = self.layer(site, channels, size, outputs=channels)
            inner = self.residual(inner, channels, size, depth - 1)
        else:
            for _ in range(self.draw(st.integers(0, 1))):
                inner, _ = self.layer(inner, channels, size, outputs=channels)
        self.layer(inner, channels, size, summed, outputs=channels)
        if self.draw(st.booleans()):
            self.requantize(fork, channels, size, summed)
        else:
            self.layer(site, channels, size, summed, outputs=channels)
        add = self.name("add")
        self.operators.append(Add(add, channels, size * size, summed))
        return self.requantize(add, channels, size)

    def pool(self, site: str, channels: int, size: int) -> str:
        name, kind = self.name("pool"), self.draw(st.sampled_from(("average", "max")))
        self.operators.extend(conv_window(name, channels, size + 2, size, 1, site, depthwise=True))
        self.operators.append(Pool(name, channels, 9, size * size, kind, site))
        return self.requantize(name, channels, size)

    def gate(self, site: str, channels: int, size: int) -> str:
        """A rotation, a norm, a fork, a table on one branch, the product of both."""
        rotate, norm, fork, pixels = self.name("rotate"), self.name("norm"), self.name("fork"), size * size
        self.operators.append(Rotate(rotate, channels, 2, pixels, site))
        site = self.requantize(rotate, channels, size)
        self.operators.append(Normalize(norm, channels, pixels, self.draw(st.sampled_from(Norm)), site))
        normed = self.requantize(norm, channels, size)
        self.operators.append(Duplicate(fork, channels, pixels, 2, normed))
        gate, _ = self.layer(normed, channels, size, outputs=channels)
        table, product = self.name("table"), self.name("product")
        self.operators.append(Table(table, channels, pixels, gate, f"{table}.out"))
        other, _ = self.layer(normed, channels, size, outputs=channels)
        self.operators.append(Multiply(product, channels, pixels, f"{table}.out", other))
        return self.requantize(product, channels, size)

    def attention(self, site: str, channels: int, size: int) -> str:
        """Turned queries, keys, a product, a softmax; `channels` is one head and one position a pixel."""
        fork, rope, pixels = self.name("fork"), self.name("rope"), size * size
        self.operators.append(Duplicate(fork, channels, pixels, 2, site))
        query, _ = self.layer(site, channels, size, outputs=channels)
        self.operators.append(Rope(rope, channels, pixels, 2, pixels, query))
        query = self.requantize(rope, channels, size)
        stored, _ = self.layer(site, channels, size, into=self.name("stored"), outputs=channels)
        scores, softmax, cached = self.name("scores"), self.name("softmax"), self.draw(st.booleans())
        self.operators.append(MatMul(scores, channels, channels, pixels, query, stored, 2, cached))
        scored = self.requantize(scores, channels, size)
        self.operators.append(Softmax(softmax, channels, pixels, scored))
        return self.requantize(softmax, channels, size)


@st.composite
def networks(draw) -> Network:
    """One to three blocks: layers, residual blocks (nested too), pools, gates, attention."""
    build = _Builder(draw)
    site, channels, size = "input", draw(st.sampled_from((1, 4, 6))), draw(st.sampled_from((3, 8)))
    for _ in range(draw(st.integers(1, 3))):
        kinds = ("layer", "residual", "pool", "gate", "attention") if channels % 2 == 0 else ("layer",)
        match draw(st.sampled_from(kinds)):
            case "layer":
                site, channels = build.layer(site, channels, size)
            case "residual":
                site = build.residual(site, channels, size, depth=2)
            case "gate":
                site = build.gate(site, channels, size)
            case "attention":
                site = build.attention(site, channels, size)
            case _:
                site = build.pool(site, channels, size)
    build.layer(site, channels, size)
    operators: tuple[Operator, ...] = tuple(build.operators)
    return Network("random", operators)


@st.composite
def numerics(draw, network: Network, *, integers: bool = False) -> Numerics:
    """Other formats for every site and layer."""

    def weight():
        fmt = parse_format(draw(st.sampled_from(INTEGERS if integers else WEIGHTS)))
        if hasattr(fmt, "block_size"):
            return tensor_quant(fmt)
        return tensor_quant(fmt, parse_scaling(draw(st.sampled_from(("tensor", "channel", "channel_po2", "group4")))))

    def accumulator():
        tile = draw(st.sampled_from((None, 4)))
        return Accumulator(draw(st.integers(8, 40)), tile, draw(st.sampled_from(Overflow)))

    def site():
        name = draw(st.sampled_from(("uint2", "int4", "uint8") if integers else SITES))
        return tensor_quant(parse_format(name), parse_scaling(draw(st.sampled_from(("tensor", "tensor_po2")))))

    sites = {
        name: tensor_quant(parse_format("int4")) if name.startswith("stored") else site() for name in network.sites
    }
    layers = {
        op.name: LayerNumerics(sites[op.stored] if isinstance(op, MatMul) else weight(), accumulator())
        for op in network.compute
    }
    return Numerics(sites, layers)


@st.composite
def folding_choices(draw, network: Network) -> dict[str, list[Folding]]:
    """One to four foldings of every layer."""
    return {
        op.name: draw(
            st.lists(
                st.builds(Folding, st.sampled_from(divisors(op.rows)), st.sampled_from(divisors(op.cols))),
                min_size=1,
                max_size=4,
            )
        )
        for op in network.compute
    }
