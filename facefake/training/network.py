"""The real-or-fake network: an ImageNet backbone and a head whose evidence map is the score.

The head is a 1×1 convolution to one logit per place, averaged over the places, so that
``logit = mean(map) + bias`` holds exactly and the map explains the score at no cost (a fully convolutional
class activation map; Zhou et al., CVPR 2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from facefake.errors import ModelError
from facefake.paths import model_file

if TYPE_CHECKING:
    import keras

LITE0 = "efficientnet-lite0"
LITE0_SHORT = "efficientnet-lite0-short"
KERAS_BACKBONES = {
    "vgg16": "VGG16",
    "resnet50": "ResNet50",
    "inceptionv3": "InceptionV3",
    "efficientnetv2b0": "EfficientNetV2B0",
}
BACKBONES = (LITE0, LITE0_SHORT, *KERAS_BACKBONES)
HEAD = ("dropout", "evidence", "bias")
"""Layers that a run finds by their names."""

_SHORT_END, _SHORT_CHANNELS = "stage5_block3_add", 512


class Stage(NamedTuple):
    """One stage of inverted residual blocks of EfficientNet (Tan & Le, ICML 2019, table 1)."""

    blocks: int
    filters: int
    expansion: int
    stride: int
    kernel: int


STAGES = (
    Stage(1, 16, 1, 1, 3),
    Stage(2, 24, 6, 2, 3),
    Stage(2, 40, 6, 2, 5),
    Stage(3, 80, 6, 2, 3),
    Stage(3, 112, 6, 1, 5),
    Stage(4, 192, 6, 2, 5),
    Stage(1, 320, 6, 1, 3),
)


def _normalise(x: Any, name: str, relu: bool) -> Any:
    import keras

    x = keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_bn")(x)
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if relu else x


def _block(x: Any, stage: Stage, stride: int, name: str) -> Any:
    import keras

    inputs, channels = x, int(x.shape[-1])
    if stage.expansion > 1:
        x = keras.layers.Conv2D(channels * stage.expansion, 1, use_bias=False, name=f"{name}_expand")(x)
        x = _normalise(x, f"{name}_expand", relu=True)
    x = keras.layers.DepthwiseConv2D(
        stage.kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise"
    )(x)
    x = _normalise(x, f"{name}_depthwise", relu=True)
    x = keras.layers.Conv2D(stage.filters, 1, use_bias=False, name=f"{name}_project")(x)
    x = _normalise(x, f"{name}_project", relu=False)
    if stride == 1 and channels == stage.filters:
        x = keras.layers.Add(name=f"{name}_add")([inputs, x])
    return x


def efficientnet_lite0(side: int | None = None) -> keras.Model:
    """EfficientNet-Lite0 without its classifier: no squeeze-and-excitation, ReLU6, fixed stem and head.

    Input: float32 (n, side, side, 3), RGB, 0 to 255. Output: float32 (n, ceil(side/32), ceil(side/32), 1280).
    The weights are random; `backbone` loads the trained ones.
    """
    import keras

    inputs = keras.Input((side, side, 3), name="crops")
    x = keras.layers.Rescaling(1 / 128, offset=-127 / 128, name="rescale")(inputs)
    x = keras.layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="stem")(x)
    x = _normalise(x, "stem", relu=True)
    for number, stage in enumerate(STAGES):
        for repeat in range(stage.blocks):
            x = _block(x, stage, stage.stride if repeat == 0 else 1, f"stage{number}_block{repeat}")
    x = keras.layers.Conv2D(1280, 1, use_bias=False, name="head")(x)
    x = _normalise(x, "head", relu=True)
    return keras.Model(inputs, x, name="efficientnet_lite0")


def backbone(name: str, side: int) -> keras.Model:
    """A convolutional network with ImageNet weights, from crops to a feature map.

    Args:
        name: one of `BACKBONES`. EfficientNet-Lite0 comes with facefake; the short one is the same without its last
            stage, and with a new 1×1 convolution to 512 channels; the others are Keras's own applications, whose weights
            Keras looks for in its cache, or downloads.
        side: the side of the square input, pixels.

    Returns:
        A model from float32 (n, side, side, 3), RGB, 0 to 255, to float32 (n, h, w, channels).

    Raises:
        ModelError: the name is unknown, or the weights are not available.
    """
    import keras

    if name in (LITE0, LITE0_SHORT):
        trained = keras.saving.load_model(
            model_file("backbones/efficientnet-lite0.keras"), compile=False, safe_mode=True
        )
        network = efficientnet_lite0(side)
        network.set_weights(trained.get_weights())
        if name == LITE0:
            return network
        x = network.get_layer(_SHORT_END).output
        x = keras.layers.Conv2D(_SHORT_CHANNELS, 1, use_bias=False, name="head")(x)
        return keras.Model(network.input, _normalise(x, "head", relu=True), name="efficientnet_lite0_short")
    if name not in KERAS_BACKBONES:
        raise ModelError(f"expected a backbone out of {', '.join(BACKBONES)}, got {name!r}")
    application = getattr(keras.applications, KERAS_BACKBONES[name])
    inputs = keras.Input((side, side, 3), name="crops")
    try:
        features = application(include_top=False, weights="imagenet", input_shape=(side, side, 3))
    except Exception as error:  # Keras raises bare Exception when the download fails
        raise ModelError(
            f"expected the ImageNet weights of {name} in Keras's cache (~/.keras/models) or a connection to "
            f"download them, got: {error}"
        ) from error
    return keras.Model(inputs, features(_application_input(name, inputs)), name=name)


def _application_input(name: str, x: Any) -> Any:
    """What `keras.applications` does in `preprocess_input`, as built-in layers that can be saved safely."""
    import keras

    if name == "inceptionv3":
        return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(x)
    if name == "efficientnetv2b0":
        return x  # rescales by itself
    bgr = keras.ops.flip(x, axis=-1)
    return keras.layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68], name="rescale")(bgr)


def build(backbone_name: str, side: int, dropout: float) -> keras.Model:
    """The classifier: one logit and one evidence map per crop.

    Args:
        backbone_name: one of `BACKBONES`.
        side: the side of the square input, pixels.
        dropout: share of feature channels that are dropped in training, 0 to 1.

    Returns:
        A model from float32 (n, side, side, 3), RGB, 0 to 255, to a dictionary of ``logit`` (n,), positive for
        fake, and ``map`` (n, h, w); ``logit = mean(map) + bias`` with the bias of the layer named ``bias``.
    """
    import keras

    features = backbone(backbone_name, side)
    x = keras.layers.SpatialDropout2D(dropout, name="dropout")(features.output)
    maps = keras.layers.Conv2D(1, 1, use_bias=False, dtype="float32", name="evidence")(x)
    height, width = int(maps.shape[1]), int(maps.shape[2])
    mean = keras.layers.GlobalAveragePooling2D(dtype="float32", name="mean")(maps)
    logit = keras.layers.Dense(1, kernel_initializer="ones", use_bias=True, dtype="float32", name="bias")(
        mean
    )
    return keras.Model(
        features.input,
        {
            "logit": keras.layers.Reshape((), dtype="float32", name="logit")(logit),
            "map": keras.layers.Reshape((height, width), dtype="float32", name="map")(maps),
        },
        name="facefake",
    )


def fold_scale(network: keras.Model) -> None:
    """Move the trained scale between mean and logit into the evidence map, so that ``logit = mean(map) + bias``.

    The scale is trained separately because it lets the logit grow without moving the map's weights. The logits stay
    as they are.
    """
    import numpy as np

    last = network.get_layer("bias")
    scale, bias = last.get_weights()
    evidence = network.get_layer("evidence")
    evidence.set_weights([evidence.get_weights()[0] * scale[0, 0]])
    last.set_weights([np.ones_like(scale), bias])
