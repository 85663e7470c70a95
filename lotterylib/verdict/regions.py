"""Regions of accuracy, after Chen et al. (2022): winning, degraded, collapsed."""

from __future__ import annotations

from enum import IntEnum

from ..errors import SettingError

TOLERANCE = 0.01  # Region I ends one percentage point of accuracy below dense


class Region(IntEnum):
    """I: winning ticket, drawn solid. II: degraded, dashed. III: collapsed, dotted."""

    I = 1  # noqa: E741 (the paper's own name)
    II = 2
    III = 3

    def __str__(self) -> str:
        return f"Region {self.name}"


def region(accuracy: float, dense_accuracy: float, chance: float) -> Region:
    """Region of a ticket by its test accuracy; all three are fractions in [0, 1].

    I: at most one percentage point below dense. III: less than half of what dense gains over ``chance`` (1/classes).
    II: in between. Raises ``SettingError`` for a percentage or NaN.
    """
    for what, value in {"accuracy": accuracy, "dense_accuracy": dense_accuracy, "chance": chance}.items():
        if not 0 <= value <= 1:
            raise SettingError(f"{what} must be a fraction in [0, 1], got {value}")
    if (
        accuracy >= dense_accuracy - TOLERANCE - 1e-9
    ):  # one point exactly still wins, whatever the last bit says
        return Region.I
    if accuracy - chance < (dense_accuracy - chance) / 2:
        return Region.III
    return Region.II
