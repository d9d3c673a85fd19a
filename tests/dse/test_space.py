"""The search space: which combinations exist, and that each is a design point of its own."""

import random

import pytest
import yaml

from dse.check import describe, describe_text
from dse.config import parse_config
from dse.space import AXES, SpaceError, choice_key, hardware_choices, has_minifloat, make_space, variants
from dse.template import render
from hwmodels.datapath import Multiplier


def config(**space):
    data = yaml.safe_load(render("digits-resnet", "x"))
    data["space"] = {"weight": ["int4", "e2m1"], "activation": ["int4", "e2m1"]} | space
    data["hardware"]["multiplier"] = ["lut", "dsp"]
    return parse_config(yaml.safe_dump(data))


def test_axe_exists_for_integers_with_a_width_only():
    space = make_space(config(recipe=["rtn", "axe"], accumulator=["auto", "16"]))
    axe = [c for c in space if c["recipe"] == "axe"]
    assert {(c["weight"], c["activation"], c["accumulator"]) for c in axe} == {("int4", "int4", "16")}
    assert space.size() == 9
    assert space.combinations == 16


def test_a_tile_belongs_to_axe():
    space = make_space(config(recipe=["rtn", "axe"], accumulator=["16"], tile=["none", "32"]))
    assert {c["recipe"] for c in space if c["tile"] == "32"} == {"axe"}


def test_every_choice_is_drawn_once_and_then_none():
    space = make_space(config(recipe=["rtn", "axe"], accumulator=["auto", "16"]))
    taken: set[tuple[str, ...]] = set()
    rng = random.Random(0)
    while (choice := space.draw(rng, frozenset(taken))) is not None:
        assert choice_key(choice) not in taken
        taken.add(choice_key(choice))
    assert len(taken) == space.size()


def test_distinct_choices_are_distinct_design_points():
    made = make_space(parse_config(render("digits-resnet", "digits")))
    rng = random.Random(1)
    choices = {choice_key(c): c for c in (made.draw(rng, frozenset()) for _ in range(500)) if c is not None}
    hardware = hardware_choices(parse_config(render("digits-resnet", "digits")).hardware)
    keys = [p.key for c in choices.values() for _, p in variants(made.spec(c), hardware)]
    assert len(keys) == len(set(keys))


def test_the_accumulator_is_part_of_the_numerics_key_only_if_the_recipe_uses_it():
    space = make_space(config(recipe=["rtn", "axe"], accumulator=["auto", "16", "20"]))
    base = dict.fromkeys(AXES, "") | {"weight": "int4", "activation": "int4", "weight_scaling": "channel"}
    base |= {"activation_scaling": "tensor", "tile": "none", "weight_rule": "absmax", "activation_rule": "auto"}
    base |= {"overflow": "impossible"}
    base |= {"kv_cache": "none", "kv_scaling": "token"}

    def key(recipe, width):
        return space.spec(base | {"recipe": recipe, "accumulator": width}).key

    assert key("rtn", "16") == key("rtn", "20") == key("rtn", "auto")
    assert key("axe", "16") != key("axe", "20")


def test_dynamic_scales_are_those_of_the_largest_values():
    rules = ["auto", "absmax", "mse"]
    space = make_space(
        config(activation_scaling=["tensor", "token"], activation_rule=rules, weight_rule=["absmax", "mse"])
    )
    assert {c["activation_rule"] for c in space if c["activation_scaling"] == "token"} == {"auto", "absmax"}
    assert {c["activation_rule"] for c in space if c["activation_scaling"] == "tensor"} == set(rules)
    assert len({space.spec(c).key for c in space}) == space.size()


def test_keys_and_values_have_a_scale_only_if_they_are_quantized():
    space = make_space(config(kv_cache=["none", "int8", "e2m1"], kv_scaling=["token", "tensor"]))
    assert {(c["kv_cache"], c["kv_scaling"]) for c in space} == {
        ("none", "token"),
        *((fmt, scaling) for fmt in ("int8", "e2m1") for scaling in ("token", "tensor")),
    }
    assert len({space.spec(c).key for c in space}) == space.size()
    floats = {has_minifloat(space.spec(c)) for c in space if (c["weight"], c["activation"]) == ("int4", "int4")}
    assert floats == {True, False}  # an E2M1 cache is multiplied with, too


def test_exceptions_of_layers_are_part_of_every_point():
    data = yaml.safe_load(render("digits-resnet", "x"))
    data["rules"]["layers"] = [{"match": "depthwise", "weight": "e3m2", "weight_scaling": "tensor"}]
    with_exceptions = parse_config(yaml.safe_dump(data))
    assert parse_config(with_exceptions.as_yaml()) == with_exceptions
    choice = next(iter(make_space(with_exceptions)))
    spec = make_space(with_exceptions).spec(choice)
    plain = make_space(parse_config(render("digits-resnet", "x"))).spec(choice)
    assert spec.overrides[0].as_dict() == {"match": "depthwise", "weight": "e3m2", "weight_scaling": "tensor"}
    assert spec.key != plain.key
    assert (has_minifloat(spec), has_minifloat(plain)) == (True, False)


def test_minifloats_have_no_dsp_variant():
    made = config()
    space, hardware = make_space(made), hardware_choices(made.hardware)
    for choice in space:
        multipliers = {p.hardware.multiplier for _, p in variants(space.spec(choice), hardware)}
        floats = "e2m1" in (choice["weight"], choice["activation"])
        assert multipliers == ({Multiplier.LUT} if floats else {Multiplier.LUT, Multiplier.DSP})


def test_choices_that_no_point_can_have_are_named_with_the_reason():
    made = config(
        weight=["int4", "uint4", "e2m1"],
        activation=["e2m1", "ue2m2"],
        recipe=["rtn", "axe"],
        kv_scaling=["token", "tensor"],
    )
    never = make_space(made).never()
    assert set(never) == {"weight: uint4", "recipe: axe", "kv_scaling: tensor"}
    assert never["weight: uint4"].startswith("the weight format must be signed, but got uint4")
    assert "have no scale, but kv_cache is none" in never["kv_scaling: tensor"]
    assert "no point has weight: uint4: the weight format must be signed" in describe_text(
        describe(made, 1, measure=False)
    )


def test_no_choice_of_a_space_in_which_every_one_is_used_is_named():
    space = make_space(config(recipe=["rtn", "axe"], accumulator=["auto", "16"], kv_cache=["none", "int8"]))
    assert space.never() == {}
    for axis in space.searched:
        assert {c[axis] for c in space} == set(space.axes[axis])


def test_a_space_without_a_point_says_why():
    with pytest.raises(SpaceError, match="the axe step must be given an accumulator width P"):
        make_space(config(recipe=["axe"]))
