"""The configuration: all mistakes at once, each with its path; what is written is read back."""

from pathlib import Path

import pytest
import yaml

from dse.config import ConfigError, load_config, parse_config
from dse.evaluate import Evaluator
from dse.template import render
from hwmodels.catalog import parse_element
from workloads.registry import WORKLOADS

SWEEPS = Path(__file__).parents[2] / "sweeps"


def test_every_ready_made_sweep_is_valid():
    files = sorted(SWEEPS.glob("*.yaml"))
    assert files
    for file in files:
        assert load_config(file).name == file.stem


def test_the_digits_sweep_is_what_init_writes():
    assert (SWEEPS / "digits.yaml").read_text() == render("digits-resnet", "digits")


@pytest.mark.parametrize("workload", WORKLOADS)
def test_unsigned_minifloats_are_offered_where_they_differ_from_signed_ones(workload):
    """They are as wide as an integer that is offered, and where no value is negative, nothing but the sign is dropped."""
    offered = parse_config(render(workload, "x")).space.activation
    unsigned = [parse_element(name) for name in offered if name.startswith("u")]
    assert bool(unsigned) == any(site.nonnegative for site in Evaluator(workload).plan.sites)
    integers = {parse_element(name).bits for name in offered if name.startswith("int")}
    assert all(fmt.exponent_bits >= 2 and fmt.bits in integers for fmt in unsigned)


def test_a_configuration_is_read_back_from_what_it_writes():
    config = parse_config(render("digits-resnet", "digits"))
    assert parse_config(config.as_yaml()) == config


def test_all_mistakes_are_reported_at_once_with_their_paths():
    data = yaml.safe_load(render("digits-resnet", "x"))
    data["space"]["weight"] = ["int4", "e4m3"]
    data["space"]["recipe"] = ["gptq+nonsense"]
    data["hardware"]["device"] = "XC9"
    data["hardware"]["colour"] = "red"
    data["search"]["trials"] = 0
    data["workload"] = "mnist"
    with pytest.raises(ConfigError) as caught:
        parse_config(yaml.safe_dump(data), "sweep.yaml")
    text = str(caught.value)
    assert "sweep.yaml has 6 mistakes" in text
    for fragment in (
        "space.weight[1]: a bare e4m3 does not say",
        "ocp_e4m3 (max 448)",
        "space.recipe[0]: a recipe must be rtn or steps of",
        "hardware.device[0]:",
        "hardware.colour: unknown key; known here: device,",
        "search.trials: Input should be greater than or equal to 1, but got 0",
        "workload: a workload must be one of digits-resnet, ",
    ):
        assert fragment in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../escape"}, "name: must be 1 to 64 letters"),
        ({"objectives": ["lut", "dsp"]}, "a front needs a measured quality"),
        ({"objectives": ["top1", "top1"]}, "each may stand once"),
        ({"objectives": ["top1", "area"]}, r"objectives\[1\]: an objective must be one of top1, loss, .*, lut,"),
        (
            {"objectives": ["perplexity", "lut"]},
            "the workload must measure them, but it gives top1, loss and not perplexity",
        ),
        ({"workload": {"huggingface": "m"}}, "workload.text: this key is required"),
        (
            {"workload": {"huggingface": "m", "text": "t", "url": "u"}},
            "workload.url: unknown key; known here: huggingface,",
        ),
        ({"workload": 7}, "workload: Input should be a valid dictionary"),
        ({"space": {"weight": ["int4"]}}, "space.activation: this key is required"),
        (
            {"space": {"weight": ["int4", "int4"], "activation": ["int4"]}},
            "each choice may stand once, but int4 repeats",
        ),
        (
            {"space": {"weight": ["int4"], "activation": ["int4"], "weight_scaling": ["token"]}},
            "weights are constants with constant scales around zero, but got int8/token",
        ),
        (
            {"space": {"weight": ["int4"], "activation": ["int4"], "activation_scaling": ["channel"]}},
            "the products of one sum must share their activation scale",
        ),
        (
            {"space": {"weight": ["int4"], "activation": ["int4"], "activation_scaling": ["group32"]}},
            "activation groups are dynamic, but got int8/group32; write group32_dynamic",
        ),
        (
            {"space": {"weight": ["int4"], "activation": ["int4"], "weight_rule": ["max"]}},
            r"space.weight_rule\[0\]: a scale rule must be absmax, mse or like percentile99.9, but got 'max'",
        ),
        (
            {"rules": {"layers": [{"match": "stem"}]}},
            r"rules.layers\[0\]: an override must change a format or a scaling, but the one for 'stem' changes none",
        ),
        (
            {"rules": {"layers": [{"match": "stem", "weight": "int99"}]}},
            r"rules.layers\[0\].weight: .* must be 2 to 32, but got bits=99",
        ),
        ({"space": {"weight": ["mxfp4_e2m1"], "activation": ["int4"]}}, "use e2m1 with a group scale"),
        (
            {"space": {"weight": ["int4"], "activation": ["int4"], "accumulator": ["wide"]}},
            "must be auto or a whole number",
        ),
        ({"objectives": ["weight_bits", "lut"]}, "a front needs a measured quality"),
        ({"seed": 2**32}, "seed: Input should be less than 4294967296"),
        ({"hardware": {"target_fps": float("inf")}}, r"target_fps\[0\]: Input should be a finite number"),
        ({"hardware": {"memory": ["auto", "auto"]}}, "hardware.memory: each choice may stand once, but auto repeats"),
        (
            {"hardware": {"device": ["xczu3eg", "XCZU7EV", "XCZU3EG"]}},
            "hardware.device: each choice may stand once, but XCZU3EG = xczu3eg repeats",
        ),
        (
            {"space": {"weight": ["int4"], "activation": ["int4"], "accumulator": ["16", "016", "auto"]}},
            "space.accumulator: each choice may stand once, but 016 = 16 repeats",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_path(change, message):
    data = yaml.safe_load(render("digits-resnet", "x")) | change
    with pytest.raises(ConfigError, match=message):
        parse_config(yaml.safe_dump(data))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "must be YAML, but it cannot be parsed at line 1"),
        ("- 1", "must be a YAML mapping with the keys name, workload"),
        ("", "must be a YAML mapping"),
        ("!!python/object/apply:os.system ['true']", "must be YAML, but it cannot be parsed"),
        ("[" * 5000, "must be YAML, but it cannot be parsed"),
        ("name: x\x00", "unacceptable character"),
        ("name: 2020-13-45", "month must be in"),
        ("seed: " + "9" * 5000, "Exceeds the limit"),
        ('seed: !!int ""', "must be YAML, but it cannot be parsed"),
        ("seed: !!bool x", "must be YAML, but it cannot be parsed"),
        ("seed: !!timestamp x", "must be YAML, but it cannot be parsed"),
        ("seed: 1\nspace: {weight: [int4], weight: [int8]}", "line 2, column 25: the key 'weight' stands twice"),
    ],
)
def test_what_is_not_a_configuration_is_refused_in_one_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(text)
    assert "\n" not in str(caught.value)


def test_a_mistake_that_aliases_itself_into_gigabytes_is_shown_short():
    levels = ["b0: &b0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"b{i}: &b{i} [{', '.join([f'*b{i - 1}'] * 9)}]" for i in range(1, 12)]
    with pytest.raises(ConfigError, match="name: Input should be a valid string") as caught:
        parse_config("\n".join([*levels, "name: *b11"]))
    assert len(str(caught.value)) < 10_000


@pytest.mark.parametrize("name", ["digits", "x.y", "yes", "null", "1.5", "2020-01-01", "2020-13-45", "0x1F"])
def test_init_writes_a_name_that_is_read_back(name):
    assert parse_config(render("digits-resnet", name)).name == name


@pytest.mark.parametrize("name", ["my sweep", "a: b", "é", "{a", "n" * 65, ""])
def test_init_refuses_a_name_that_no_sweep_can_have(name):
    with pytest.raises(ConfigError, match="must be 1 to 64 letters"):
        render("digits-resnet", name)


def test_files_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(ConfigError, match="must be a readable file"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="must be UTF-8"):
        load_config(tmp_path / "binary.yaml")
    (tmp_path / "huge.yaml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="must be at most 1048576 bytes"):
        load_config(tmp_path / "huge.yaml")
