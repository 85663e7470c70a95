"""Values that a profile's author gets wrong are refused in one line that says what would be right."""

import re

import pytest
import yaml
from pydantic import ValidationError

from lotterylib.errors import first_problem
from lotterylib.training import Recipe


@pytest.mark.parametrize(
    "line, words",
    [
        ("lr: .inf", "lr: want a finite number, got inf"),
        ("weight_decay: .nan", "weight_decay: want a finite number, got nan"),
        ("epochs: .inf", "epochs: .*finite number"),
        ("epochs: true", "epochs: want a number, not true or false, got True"),
        ("lr: yes", "lr: want a number, not true or false"),
        ("lr: 1e-3", r"lr: want a number, not text: for YAML, write 1.0e-3, got '1e-3'"),
        ("lr: 1e3", r"write 1.0e\+3"),
        ("milestones: [0.5, 9e-1]", r"milestones.1: .*write 9.0e-1"),
        ("epochs: '12'", "epochs: .*write 12 without quotes"),
        ("lr: fast", "lr: want a number, not text, got 'fast'"),
        ("nesterov: 1", "nesterov: .*boolean"),
        ("flip: often", "flip: .*True, False or 'alternate'"),
        ("rewind: -1", "rewind: .*greater than or equal to 0"),
    ],
)
def test_wrong_values_are_one_line(line, words):
    with pytest.raises(ValidationError) as caught:
        Recipe(**yaml.safe_load(line))
    said = first_problem(caught.value)
    assert "\n" not in said and re.search(words, said), said


@pytest.mark.parametrize(
    "line", ["lr: 1.0e-3", "lr: 1", "epochs: 3.0", "flip: alternate", "flip: off", "milestones: []"]
)
def test_right_values_are_taken(line):
    settings = yaml.safe_load(line)
    recipe = Recipe(**settings)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe
