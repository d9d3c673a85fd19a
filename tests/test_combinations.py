"""Every recipe runs on every kind of format and workload, or is refused in a sentence, as the page in docs says: all tried."""

import re

import pytest

from tests.combinations import FAMILIES, PAGE, TRIED, evaluator_of, outcome
from workloads.registry import WORKLOADS


def stated(workload):
    """What the page says of a workload: by recipe, the outcome of each family."""
    text = PAGE.read_text().split(f"\n## {workload}\n")[1].split("\n## ")[0]
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", text, flags=re.MULTILINE))
    rows = dict(re.findall(r"^\| `(.*?)` \| (.*) \|$", text, flags=re.MULTILINE))
    cells = {recipe: [re.sub(r"refused \((\d+)\)", r"\1", c) for c in row.split(" | ")] for recipe, row in rows.items()}
    return {recipe: [reasons.get(cell, cell) for cell in row] for recipe, row in cells.items()}


@pytest.mark.parametrize("recipe", TRIED)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_page_says_what_becomes_of_a_recipe(workload, recipe):
    assert [outcome(evaluator_of(workload), workload, recipe, family) for family in FAMILIES] == stated(workload)[
        recipe
    ]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_page_has_every_recipe_and_most_of_them_work(workload):
    page = stated(workload)
    assert set(page) == set(TRIED)
    assert sum(row.count("works") for row in page.values()) > len(TRIED) * len(FAMILIES) / 2
