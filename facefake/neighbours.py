"""What a face's neighbours say about it.

How fake real faces look depends on camera, light and editing, so it varies more between pictures than within one.
Therefore the more real a face's neighbours look, the more suspicious it is. A low quantile of the neighbours' scores
ignores those of them that look fake, and neighbours that look no more real than most faces do count for nothing, so that a
picture in which everybody is fake exonerates nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST_COMPARED = 4
"""With fewer judged faces in a picture there is no telling how its real faces look, nor which is the odd one out."""

# Chosen on the calibration half (models/EXPERIMENTS.md, 57): with the median, fakes that are half of a picture's faces hide
# each other, and with a larger weight those of a wholly fake picture do.
_QUANTILE = 0.3
_WEIGHT = 0.6


def among_neighbours(log_odds: Sequence[float] | NDArray[np.float64], ordinary: float) -> NDArray[np.float64]:
    """Scores of faces that allow for how real the others in the same picture look.

    Args:
        log_odds: of being fake, of each face alone, (..., n), with n at least `FEWEST_COMPARED`.
        ordinary: the log-odds of an ordinary real face: neighbours that look more fake than that count for nothing.

    Returns:
        float64 (..., n): the log-odds plus 0.6 times the amount by which the 30 % quantile of the other faces' log-odds
        falls short of `ordinary`, if it does.
    """
    values = np.asarray(log_odds, np.float64)
    count = values.shape[-1]
    ordered = np.sort(values, axis=-1)
    rank = np.argsort(np.argsort(values, axis=-1), axis=-1)
    place = _QUANTILE * (count - 2)
    low = int(place)

    def other(number: int) -> NDArray[np.float64]:
        """For each face, the value of this rank among the others."""
        return np.take_along_axis(ordered, np.where(rank <= number, number + 1, number), axis=-1)

    typical = other(low) + (place - low) * (other(low + 1) - other(low))
    return np.asarray(values + _WEIGHT * np.maximum(0.0, ordinary - typical), np.float64)
