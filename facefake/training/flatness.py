"""Training that looks for flat minima: sharpness-aware minimization (Foret et al., ICLR 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facefake.errors import ModelError

if TYPE_CHECKING:
    import keras


def sharpness_aware(network: keras.Model, radius: float) -> keras.Model:
    """A model of the same weights, whose training follows the gradient from where the loss is highest within a radius.

    Args:
        network: any that learns from crops alone.
        radius: length of the step uphill, over all trained weights together, above 0.

    Raises:
        ModelError: Keras does not run on TensorFlow, whose gradients these are.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ModelError(
            f"expected Keras on TensorFlow for a recipe with flatness, got {keras.backend.backend()}"
        )
    import tensorflow as tf

    class SharpnessAware(keras.Model):  # type: ignore[misc]
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._seen = keras.metrics.Mean(name="loss")

        @property
        def metrics(self) -> list[Any]:
            return [self._seen]

        def train_step(self, data: Any) -> dict[str, Any]:
            crops, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
            loss, gradients = self._gradients(crops, labels)
            norm = tf.linalg.global_norm(gradients) + 1e-12
            uphill = [radius * gradient / norm for gradient in gradients]
            for weights, step in zip(self.trainable_variables, uphill, strict=True):
                weights.assign_add(step)
            _, gradients = self._gradients(crops, labels)
            for weights, step in zip(self.trainable_variables, uphill, strict=True):
                weights.assign_sub(step)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            self._seen.update_state(loss)
            return {"loss": self._seen.result()}

        def _gradients(self, crops: Any, labels: Any) -> tuple[Any, list[Any]]:
            with tf.GradientTape() as tape:
                loss = self.compute_loss(crops, labels, self(crops, training=True))
            return loss, tape.gradient(loss, self.trainable_variables)

    return SharpnessAware(network.inputs, network.output)
