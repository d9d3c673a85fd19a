"""Files that were damaged on their way: whatever is done to one, reading and executing it works or ends in one sentence."""

import random

import numpy as np
import onnx
import pytest
from export_models import gate, images, quantized

from dse.export.errors import ExportError
from dse.export.execute import MOST_TOKENS, Executable
from dse.export.probe import probe
from dse.export.qonnx import export_qonnx
from dse.onnx_network import read_network
from dse.onnx_reader.graph import MAX_FILE_BYTES
from hwmodels.errors import BitfrontError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(model, path) of a plain network and of one with groups and dynamic scales."""
    folder = tmp_path_factory.mktemp("fuzz")
    made = []
    for name, asked, more in (
        ("plain", ("int4", "e2m1"), {}),
        ("blocks", ("e2m1", "int4", "group16_e4m3"), {"activation_scaling": "group16_e4m3_dynamic"}),
    ):
        model = quantized(*asked, **more)
        export_qonnx(model, images()[:1], folder / f"{name}.onnx", name="small")
        made.append((model, folder / f"{name}.onnx"))
    return made


def flipped(data, random_):
    """Some bytes changed, in the part that holds structure rather than weights."""
    changed = bytearray(data)
    for _ in range(random_.choice([1, 1, 2, 8])):
        changed[random_.randrange(len(changed))] = random_.randrange(256)
    return bytes(changed)


def truncated(data, random_):
    return data[: random_.randrange(len(data))]


def mutated(data, random_):
    """A field of the model changed: still a protobuf message, no longer the network."""
    proto = onnx.ModelProto.FromString(data)
    graph = proto.graph
    node, tensor = random_.choice(list(graph.node)), random_.choice(list(graph.initializer))

    def change():
        match random_.randrange(12):
            case 0:
                node.op_type = random_.choice(["Relu", "MatMul", "Loop", "Quant", "", "Reshape", "Shape", "Cast"])
            case 1:
                node.input[random_.randrange(len(node.input))] = random_.choice([t.name for t in graph.initializer])
            case 2:
                node.input[random_.randrange(len(node.input))] = random_.choice([n.output[0] for n in graph.node])
            case 3:
                graph.node.remove(node)
            case 4:
                del node.input[:]
            case 5 if node.attribute:
                random_.choice(list(node.attribute)).i = random_.choice([-1, 0, 2, 1 << 40])
            case 6 if node.attribute:
                del node.attribute[:]
            case 7:
                tensor.dims[:] = [random_.choice([0, 1, 3, 1 << 33, -1])] * random_.randrange(4)
            case 8:
                tensor.data_type = random_.randrange(20)
            case 9:
                array = onnx.numpy_helper.to_array(tensor)
                odd = (
                    np.full_like(array, random_.choice([0, -1, 7]))
                    if array.dtype.kind == "i"
                    else array * np.float32("nan")
                )
                tensor.CopyFrom(onnx.numpy_helper.from_array(odd, tensor.name))
            case 10:
                graph.input[0].type.tensor_type.shape.dim[1].dim_value = random_.choice([0, 1, 5, 1 << 40])
            case _:
                graph.output[0].name = random_.choice(["", "nowhere", node.output[0]])

    change()
    return proto.SerializeToString()


def one_sentence(work):
    """Whether the work was refused, in one sentence."""
    try:
        work()
    except BitfrontError as error:
        text = str(error)
        assert text
        assert "\n" not in text
        assert text.endswith((".", "..."))
        assert len(text) < 700, text
        return True
    return False


@pytest.mark.parametrize("damage", [flipped, truncated, mutated])
def test_a_damaged_file_is_read_and_executed_or_refused_in_one_sentence(files, tmp_path, damage):
    refused = 0
    for seed in range(70):
        random_ = random.Random(seed)
        _, path = random_.choice(files)
        bad = tmp_path / "bad.onnx"
        bad.write_bytes(damage(path.read_bytes(), random_))
        refused += one_sentence(lambda bad=bad: read_network(bad))
        one_sentence(lambda bad=bad: Executable(bad).run(images()[:1].numpy()))
    assert refused > (50 if damage is truncated else 2)  # the damage does reach the reader


def test_a_damaged_file_is_never_taken_for_the_model(files, tmp_path):
    """The gate finds a difference, or what was changed changes nothing."""
    found = 0
    for seed in range(200, 215):
        random_ = random.Random(seed)
        model, path = random_.choice(files)
        bad = tmp_path / "bad.onnx"
        bad.write_bytes(mutated(path.read_bytes(), random_))
        if bad.read_bytes() == path.read_bytes():
            continue
        report = None

        def check(bad=bad, model=model):
            nonlocal report
            report = gate(bad, model)

        if one_sentence(check):
            found += 1
        elif not report.equal:
            found += 1
            assert report.first_difference is not None
        else:
            assert report.largest_difference <= report.bound or report.tied_samples > 0
    assert found > 5


def test_oversized_files_and_ranges_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dse.onnx_reader.graph.MAX_FILE_BYTES", 100)
    big = tmp_path / "big.onnx"
    big.write_bytes(bytes(101))
    with pytest.raises(BitfrontError, match=r"must be at most 0 MiB to be read, but it is larger"):
        Executable(big)
    monkeypatch.setattr("dse.onnx_reader.graph.MAX_FILE_BYTES", MAX_FILE_BYTES)
    value, helper = onnx.helper.make_tensor_value_info, onnx.helper
    constants = [
        onnx.numpy_helper.from_array(np.array(v, np.int64), n) for n, v in (("a", 0), ("b", 1 << 40), ("c", 1))
    ]
    nodes = [helper.make_node("Range", ["a", "b", "c"], ["r"], "r"), helper.make_node("Mul", ["x", "x"], ["y"], "y")]
    graph = helper.make_graph(nodes, "g", [value("x", 1, [1])], [value("y", 1, [1])], constants)
    onnx.save(helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)]), big)
    with pytest.raises(BitfrontError, match=rf"node 'r' \(Range\) .* it counts more than {MOST_TOKENS} tokens"):
        Executable(big).run(np.ones(1, np.float32))


def test_a_file_is_first_executed_in_a_process_of_its_own(files, tmp_path, monkeypatch):
    _, path = files[0]
    sample = images()[:1].numpy()
    probe(path, sample)
    with pytest.raises(ExportError, match=r"must execute one sample within 0\.01 s, but it takes longer"):
        probe(path, sample, seconds=0.01)
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(path.read_bytes()[:999])
    with pytest.raises(
        ExportError, match=r"^.*bad\.onnx must be an ONNX model, but it cannot be parsed; it may be damaged\.$"
    ):
        probe(bad, sample)
    monkeypatch.setattr("dse.export.probe.sys.executable", "/bin/false")
    with pytest.raises(ExportError, match=r"must execute, but it ended its process \(exit code 1\)"):
        probe(path, sample)
