"""Training that seeks flat minima: sharpness-aware minimization (Foret et al., ICLR 2021).

Gradients are the one thing that Keras leaves to its backends, so each has its own few lines here.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from facefake.errors import ModelError

if TYPE_CHECKING:
    import keras


def sharpness_aware(network: keras.Model, radius: float) -> keras.Model:
    """A model with the same weights, trained by the gradient at the point within a radius where the loss is highest.

    The point is found to first order: one step uphill along the gradient.

    Args:
        network: any that learns from crops alone.
        radius: length of the step uphill, over all trained weights together, above 0.

    Raises:
        ModelError: Keras runs on a backend other than TensorFlow, PyTorch or JAX.
    """
    import keras

    backends = {"tensorflow": _on_tensorflow, "torch": _on_torch, "jax": _on_jax}
    backend = keras.backend.backend()
    if backend not in backends:
        raise ModelError(f"expected Keras on {', '.join(backends)} for a recipe with flatness, got {backend}")
    return backends[backend](radius)(network.input, network.output)


def _uphill(gradients: list[Any], radius: float) -> list[Any]:
    """The step of length `radius` along the gradients of all weights together."""
    from keras import ops

    norm = ops.sqrt(sum(ops.sum(ops.square(gradient)) for gradient in gradients)) + 1e-12
    return [radius * gradient / norm for gradient in gradients]


def _in_place(radius: float) -> Any:
    """A class for backends whose weights change in place; they define `gradients` and `unrecorded`."""
    import keras

    class SharpnessAware(keras.Model):  # type: ignore[misc]
        unrecorded: Any = staticmethod(nullcontext)

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._seen = keras.metrics.Mean(name="loss")

        @property
        def metrics(self) -> list[Any]:
            return [self._seen]

        def train_step(self, data: Any) -> dict[str, Any]:
            crops, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
            loss, gradients = self.gradients(crops, labels)
            with self.unrecorded():
                uphill = _uphill(gradients, radius)
                for weights, step in zip(self.trainable_variables, uphill, strict=True):
                    weights.assign_add(step)
            _, gradients = self.gradients(crops, labels)
            with self.unrecorded():
                for weights, step in zip(self.trainable_variables, uphill, strict=True):
                    weights.assign_sub(step)
                self.optimizer.apply(gradients, self.trainable_variables)
                self._seen.update_state(loss)
            return {"loss": self._seen.result()}

        def gradients(self, crops: Any, labels: Any) -> tuple[Any, list[Any]]:
            raise NotImplementedError

    return SharpnessAware


def _on_tensorflow(radius: float) -> Any:
    import tensorflow as tf

    class OnTensorFlow(_in_place(radius)):  # type: ignore[misc]
        def gradients(self, crops: Any, labels: Any) -> tuple[Any, list[Any]]:
            with tf.GradientTape() as tape:
                loss = self.compute_loss(crops, labels, self(crops, training=True))
            return loss, tape.gradient(loss, self.trainable_variables)

    return OnTensorFlow


def _on_torch(radius: float) -> Any:
    import torch

    class OnTorch(_in_place(radius)):  # type: ignore[misc]
        unrecorded = staticmethod(torch.no_grad)

        def gradients(self, crops: Any, labels: Any) -> tuple[Any, list[Any]]:
            loss = self.compute_loss(crops, labels, self(crops, training=True))
            return loss.detach(), list(
                torch.autograd.grad(loss, [weights.value for weights in self.trainable_variables])
            )

    return OnTorch


def _on_jax(radius: float) -> Any:
    import jax
    import keras

    class OnJax(keras.Model):  # type: ignore[misc]
        def compute_loss_and_updates(self, weights: Any, others: Any, *rest: Any, **options: Any) -> Any:
            here = super().compute_loss_and_updates
            if not options.get("training"):
                return here(weights, others, *rest, **options)
            (_, (loss, *_)), gradients = jax.value_and_grad(here, has_aux=True)(
                weights, others, *rest, **options
            )
            uphill = jax.lax.stop_gradient(_uphill(gradients, radius))
            above = [own + step for own, step in zip(weights, uphill, strict=True)]
            highest, (_, *updates) = here(above, others, *rest, **options)
            return highest, (loss, *updates)

    return OnJax
