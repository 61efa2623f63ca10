"""In the place of a bundle's networks."""

from __future__ import annotations

import numpy as np

from facefake.classifier import Scores


class Told:
    """A scorer that takes the logit from the crop: its mean is 128 + 10 times the logit."""

    def predict(self, crops: np.ndarray) -> Scores:
        logits = (crops.astype(np.float64).mean((1, 2, 3)) - 128) / 10
        return Scores(logits.astype(np.float32), np.zeros((len(crops), 1, 1), np.float32))
