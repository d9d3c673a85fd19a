"""Reading ONNX files: FINN's totals from other people's files, refusals by name, and damage of any kind."""

import json
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from export_models import edited, images, initializer, network, node, quantized, set_values
from onnx import TensorProto, helper, numpy_helper

from dse.export.qcdq import export_qcdq
from dse.export.qonnx import export_qonnx
from dse.onnx_network import OnnxReadError, read_network
from dse.onnx_reader import graph as graph_module
from dse.onnx_reader.names import layer_name
from dse.recost import cost_onnx
from hwmodels.catalog import parse_element
from hwmodels.datapath import Granularity
from hwmodels.devices import get_device
from hwmodels.ops import Depthwise, MatVec, Requantize, Window
from hwmodels.options import CostModel, CostOptions

GOLDEN = Path(__file__).parents[1] / "golden"
NETWORKS = json.loads((GOLDEN / "finn" / "networks_finn_v0.10.1.json").read_text())
CASES = [f"{name}_{fps}fps" for name in ("tfc_w2a2", "mlp_w8a8") for fps in (1000, 10000, 100000)]


def golden(name: str) -> Path:
    return GOLDEN / "onnx" / f"{name}.onnx"


@pytest.fixture(scope="module")
def qonnx_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("qonnx") / "small.onnx"
    export_qonnx(quantized("int4", "int4"), images()[:1], path, name="small")
    return path


@pytest.fixture(scope="module")
def qcdq_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("qcdq") / "small.onnx"
    export_qcdq(quantized("int4", "int4"), images()[:1], path, name="small")
    return path


@pytest.mark.parametrize("case", CASES)
def test_the_totals_of_a_file_are_those_of_finn(case):
    """The whole way on files that we did not write: layers, formats, accumulators, SetFolding, FINN's estimates."""
    expected = NETWORKS[case]
    name, _, rate = case.rpartition("_")
    report = cost_onnx(
        golden(name), get_device("xczu3eg"), float(rate.removesuffix("fps")), CostOptions(CostModel.FINN), 100.0
    )
    found = (report.total.lut, report.total.bram18, report.total.uram, report.total.dsp, report.max_cycles)
    total = expected["total"]
    assert found == tuple(total[key] for key in ("LUT", "BRAM_18K", "URAM", "DSP", "cycles_max"))
    assert list(report.cycles.values()) == [layer["exp_cycles"] for layer in expected["layers"]]
    assert [line.component for line in report.lines] == [layer["op"] for layer in expected["layers"]]


@pytest.mark.parametrize("case", ["tfc_w2a2_1000fps", "mlp_w8a8_1000fps"])
def test_formats_and_accumulators_are_those_that_finn_found(case):
    layers = NETWORKS[case]["layers"]
    net, numerics = read_network(golden(case.removesuffix("_1000fps")))
    assert [(op.cols, op.rows) for op in net.compute] == [(la["attrs"]["MW"], la["attrs"]["MH"]) for la in layers]
    for op, layer in zip(net.compute, layers, strict=True):
        attrs = layer["attrs"]
        assert numerics.sites[op.site].format == parse_element(attrs["inputDataType"].lower())
        assert numerics.layers[op.name].weight.format == parse_element(f"{attrs['weightDataType'].lower()}_narrow")
        needed, declared = numerics.layers[op.name].accumulator.bits, int(attrs["accDataType"].removeprefix("INT"))
        # FINN widens the last accumulator, whose sums leave the accelerator, to whole bytes
        assert declared == (needed if layer is not layers[-1] else -(-needed // 8) * 8)
    assert [op.name for op in net.compute] == [f"f.{i}" for i in (1, 4, 7, 10)[: len(layers)]]


def test_both_file_formats_read_back_as_the_network_they_were_written_from(qonnx_file, qcdq_file):
    numerics = quantized("int4", "int4").numerics
    assert read_network(qonnx_file) == (network(), numerics)
    assert read_network(qcdq_file) == (network(), numerics)
    kinds = {type(op) for op in network().operators}
    assert {MatVec, Depthwise, Window, Requantize} < kinds


def test_groups_without_metadata_are_found_by_their_scales(tmp_path):
    path = tmp_path / "grouped.onnx"
    export_qonnx(quantized("int4", "int8", "group8"), images()[:1], path, name="small")
    bare = edited(path, tmp_path / "bare.onnx", lambda model: model.ClearField("metadata_props"))
    with_metadata, without = (read_network(file)[1].layers["conv"] for file in (path, bare))
    assert with_metadata == without
    assert without.weight.scaling.granularity is Granularity.GROUP
    assert (without.weight.scaling.group_size, without.accumulator.tile_size) == (8, 8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/block1/conv1/Conv", "block1.conv1"),
        ("/f/f.1/MatMul", "f.1"),
        ("/stem_relu/act_quant/export_handler/Quant", "stem_relu"),
        ("/add/q/act_quant/export_handler_1/Quant", "add.q"),
        ("Conv_12", "Conv_12"),
        ("a\nb", "a?b"),
        ("/", "/"),
    ],
)
def test_names_are_those_of_the_modules(name, expected):
    assert layer_name(name) == expected


# refusals ----------------------------------------------------------------------------------------------------------------


def attribute(name: str, wanted: str, value):
    def edit(model):
        found = node(model, name)
        kept = [a for a in found.attribute if a.name != wanted]
        del found.attribute[:]
        found.attribute.extend([*kept, helper.make_attribute(wanted, value)])

    return edit


def stated_sites(entries):
    """Claim scalings of sites."""
    return lambda model: model.metadata_props.add(key="bitfront.sites", value=json.dumps(entries))


def gemm(name: str, **attributes):
    """Make a MatMul a Gemm."""

    def edit(model):
        found = node(model, name)
        found.op_type = "Gemm"
        found.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())

    return edit


def values(name: str, position: int, change):
    """Change the values of a node's input, for this node alone."""

    def edit(model):
        found = node(model, name)
        copy = TensorProto()
        copy.CopyFrom(initializer(model, found.input[position]))
        copy.name = found.input[position] = "changed"
        model.graph.initializer.append(copy)
        set_values(model, "changed", change)

    return edit


def renamed_operator(name: str, op: str):
    def edit(model):
        node(model, name).op_type = op

    return edit


def weights_in_another_file(model):
    tensor = initializer(model, "conv.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")


def unquantized_weights(model):
    conv = node(model, "conv")
    quant = next(n for n in model.graph.node if n.output[0] == conv.input[1])
    conv.input[1] = quant.input[0]


def unquantized_input(model):
    quant = node(model, "input.quant")
    node(model, "stem").input[0] = quant.input[0]


def second_input(model):
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1, 2]))


def dynamic_image(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def cycle(model):
    node(model, "stem").input[0] = node(model, "head").output[0]


def made_twice(model):
    node(model, "conv").output[0] = node(model, "stem").output[0]


def narrow_accumulator(model):
    model.metadata_props.add(key="bitfront.layers", value='{"conv": {"accumulator_bits": 5}}')


def wrong_metadata(model):
    model.metadata_props.add(key="bitfront.layers", value='{"conv": [5]}')


def foreign_domain(model):
    node(model, "relu1").domain = "com.example"


REFUSALS = [
    (weights_in_another_file, "'conv.weight' must be stored inside the ONNX file, but it lies in another file"),
    (unquantized_weights, "the weights of Conv node 'conv' must be a quantized constant"),
    (unquantized_input, "Conv node 'stem' must read quantized activations, but its input 'images' is not quantized"),
    (second_input, "must have one input and an output, but it has 2 inputs"),
    (dynamic_image, "must have the fixed shape"),
    (cycle, "Conv node 'stem' must read tensors that nodes before it make"),
    (made_twice, "every tensor must be made once"),
    (narrow_accumulator, "the accumulator of conv must have [0-9]+ bits for its weights, but the file claims 5"),
    (wrong_metadata, "the metadata bitfront.layers must be JSON of layer"),
    (foreign_domain, "must be a standard ONNX or QONNX operator, but it is 'Relu' of the domain 'com.example'"),
    (renamed_operator("relu1", "Sigmoid"), "no dataflow operator covers 'Sigmoid'"),
    (renamed_operator("relu1.quant", "BipolarQuant"), "no dataflow operator covers 'BipolarQuant'"),
    (
        attribute("depthwise", "group", 4),
        "must be ungrouped or depthwise .as many outputs as inputs. on its 16 input channels",
    ),
    (attribute("conv", "strides", [0, 1]), "must have kernel, strides and dilations of at least 1"),
    (attribute("conv", "pads", [2**62, 0, 0, 0]), "attribute pads of Conv node 'conv' must be 4 sizes"),
    (attribute("conv", "auto_pad", "SAME_UPPER"), "must state its padding in numbers"),
    (attribute("conv", "dilations", [40, 40]), "the window of Conv node 'conv' must fit its padded input"),
    (attribute("max_pool", "ceil_mode", 1), "must have no ceil_mode"),
    (gemm("head", alpha=2.0), "Gemm node 'head' must multiply its input by its weights"),
    (
        attribute("relu1.quant", "rounding_mode", "FLOOR"),
        "must round to nearest even .ROUND., but it has rounding_mode='FLOOR'",
    ),
    (values("relu1.quant", 2, lambda z: z + 99), "the zero point of Quant node 'relu1.quant' must be a code of uint4"),
    (
        stated_sites({"relu1": "token"}),
        "the scale of site 'relu1' must be what its nodes say, tensor, but the file claims token",
    ),
    (stated_sites({"relu1": "cubic"}), "the metadata bitfront.sites must be JSON of site: scaling"),
    (values("conv.weight.quant", 2, lambda z: z + 3), "must have the zero point 0"),
    (values("relu1.quant", 1, lambda s: -s), "must be positive numbers"),
    (values("relu1.quant", 1, lambda s: np.full(16, 0.5, "f4")), "activations must have one scale per tensor"),
    (
        values("relu1.quant", 3, lambda b: b * 0 + 3.5),
        "bit width of Quant node 'relu1.quant' must be a whole number, but got 3.5",
    ),
    (values("relu1.quant", 3, lambda b: b * 0 + 99), "must have 1 to 16 bits, but got 99"),
    (values("add.in.quant", 1, lambda s: s * 2), "both inputs of Add node 'add' must have one shape, format and scale"),
    (values("add.in.quant", 3, lambda b: b - 1), "both inputs of a residual add must have one format"),
]


@pytest.mark.parametrize(("edit", "message"), REFUSALS, ids=[message[:40] for _, message in REFUSALS])
def test_what_cannot_be_read_is_refused_in_one_sentence(qonnx_file, tmp_path, edit, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(1 << 16))  # what a path out of the folder would find
    path = edited(qonnx_file, tmp_path / "folder" / "bad.onnx", edit)
    with pytest.raises(OnnxReadError, match=message) as error:
        read_network(path)
    assert "\n" not in str(error.value)


def test_a_float_quantizer_with_an_impossible_maximum_is_refused(tmp_path):
    path = tmp_path / "small.onnx"
    export_qonnx(quantized("ocp_e4m3", "ocp_e4m3"), images()[:1], path, name="small")
    bad = edited(path, tmp_path / "bad.onnx", values("relu1.quant", 5, lambda m: m * 0 + 460))
    with pytest.raises(OnnxReadError, match=r"must have the largest value of an E4M3 with bias 7 .* but got 460"):
        read_network(bad)


def test_files_that_are_no_networks_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "x.onnx"
    with pytest.raises(OnnxReadError, match="must be a readable ONNX file: No such file"):
        read_network(path)
    with pytest.raises(OnnxReadError, match="must be a readable ONNX file: Is a directory"):
        read_network(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(OnnxReadError, match="must be an ONNX model with nodes"):
        read_network(path)
    path.write_text("weight: int4\n")
    with pytest.raises(OnnxReadError, match="must be an ONNX model, but it cannot be parsed"):
        read_network(path)
    monkeypatch.setattr(graph_module, "MAX_FILE_BYTES", 1 << 20)
    path.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(OnnxReadError, match="must be at most 1 MiB to be read"):
        read_network(path)


def test_a_tensor_that_claims_to_be_huge_is_refused_before_memory_is_taken(qonnx_file, tmp_path):
    def edit(model):
        initializer(model, "conv.weight").dims[:] = [1 << 20, 1 << 20, 1 << 10, 1]

    with pytest.raises(OnnxReadError, match="must not be larger than its file"):
        read_network(edited(qonnx_file, tmp_path / "bad.onnx", edit))


def test_a_long_chain_of_nodes_ends_in_a_sentence_too(tmp_path):
    """No recursion and no quadratic search over a file's nodes."""
    nodes = [helper.make_node("Identity", [f"t{i}"], [f"t{i + 1}"], name="same") for i in range(4000)]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("t4000", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(np.ones(3, "f4"), "unused")],
    )
    path = tmp_path / "chain.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(OnnxReadError, match="must have a layer with weights"):
        read_network(path)


def damaged(raw: bytes, rng: random.Random) -> bytes:
    """`raw` cut short, or with some bytes changed."""
    if rng.random() < 0.2:
        return raw[: rng.randrange(len(raw))]
    changed = bytearray(raw)
    # most of a file is weights; half of the changes go to its structure, at the beginning and the end
    spots = [rng.randrange(len(raw)), rng.randrange(4000), len(raw) - 1 - rng.randrange(4000)]
    for _ in range(rng.choice((1, 1, 3, 30))):
        changed[rng.choice(spots) if rng.random() < 0.3 else rng.choice(spots[1:])] = rng.randrange(256)
        spots = [rng.randrange(len(raw)), rng.randrange(4000), len(raw) - 1 - rng.randrange(4000)]
    return bytes(changed)


@pytest.mark.parametrize("which", ["qonnx", "qcdq", "mlp"])
def test_damage_is_read_or_refused_but_never_crashes(which, qonnx_file, qcdq_file, tmp_path):
    raw = {"qonnx": qonnx_file, "qcdq": qcdq_file, "mlp": golden("mlp_w8a8")}[which].read_bytes()
    rng, path, refused = random.Random(which), tmp_path / "damaged.onnx", []
    for _ in range(300):
        path.write_bytes(damaged(raw, rng))
        try:
            read_network(path)
        except OnnxReadError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in message for message in refused)


def shuffled(model: onnx.ModelProto, rng: random.Random) -> None:
    """Changes that keep the file well formed: other sizes, operators, connections and types."""
    graph, sizes = model.graph, (0, 1, -1, 2, 3, 2**31, 2**62, -(2**63))
    for _ in range(rng.randint(1, 3)):
        found = rng.choice(graph.node)
        tensor = rng.choice(graph.initializer)
        match rng.randrange(7):
            case 0:
                found.op_type = rng.choice(
                    [n.op_type for n in graph.node] + ["Clip", "Reshape", "AveragePool", "MatMul", "Foo"]
                )
            case 1 if found.input:
                other = rng.choice(graph.node)
                found.input[rng.randrange(len(found.input))] = rng.choice([*other.output, tensor.name, ""])
            case 2 if found.attribute:
                changed = rng.choice(found.attribute)
                changed.i = rng.choice(sizes)
                changed.ints[:] = [rng.choice(sizes) for _ in changed.ints]
            case 3:
                tensor.dims[:] = [rng.choice(sizes) for _ in range(rng.randrange(5))]
            case 4:
                tensor.data_type = rng.randrange(30)
            case 5:
                graph.node.remove(found)
            case _:
                rng.choice(graph.input[0].type.tensor_type.shape.dim).dim_value = rng.choice(sizes)


@pytest.mark.parametrize("which", ["qonnx", "qcdq"])
def test_well_formed_nonsense_is_read_or_refused_but_never_crashes(which, qonnx_file, qcdq_file, tmp_path):
    source = {"qonnx": qonnx_file, "qcdq": qcdq_file}[which]
    rng, refused = random.Random(which), []
    for _ in range(300):
        path = edited(source, tmp_path / "nonsense.onnx", lambda model: shuffled(model, rng))
        try:
            read_network(path)
        except OnnxReadError as error:
            refused.append(str(error))
    assert len(refused) > 100
    assert not any("\n" in message for message in refused)
