"""Networks written by others, as they are: what runs on arrays, what stays digital.

`pip install .[zoo]`, then `python benchmarks/zoo.py [NETWORK ...]` writes `zoo.csv`: all, or those.
Weights are random, statistics of normalization too.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from nvlib import ArrayMapping, Chip, Hardware, QuantizedNetwork, quantize
from nvlib.arrays import LayerArrays
from nvlib.mapping import count_arrays

TABLE = Path(__file__).with_suffix(".csv")
CALIBRATION, TRIED, ON_CHIP = 16, 4, 2  # images
HARDWARE = Hardware(ArrayMapping(cell_bits=4))  # ideal, with converters that lose nothing
#: Side of the images of each network, in pixels.
SIDES = {
    "resnet18": 32, "vgg11_bn": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 32,
    "efficientnet_b0": 32, "densenet121": 32, "googlenet": 64, "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 64, "regnet_y_400mf": 32, "mnasnet0_5": 32, "convnext_tiny": 64,
    "vit_b_16": 64, "swin_t": 64, "mixer_s32_224": 64,
}  # fmt: skip
#: Steps that move or name values, and compute nothing.
MOVES = (
    "getattr getitem size shape view reshape permute transpose flatten unsqueeze squeeze Flatten "
    "contiguous expand cat concat chunk split Identity Dropout dropout dim unflatten unbind "
    "positions_of tokens_of floordiv setitem new_zeros"
)


def make(name: str) -> nn.Module:
    """A network with random weights and statistics, in evaluation mode."""
    torch.manual_seed(0)
    if "mixer" in name:
        import_torchvision()
        import timm

        model = timm.create_model(name, num_classes=10, img_size=SIDES[name])
    else:
        choices = {"image_size": SIDES[name]} if name.startswith("vit") else {}
        choices |= {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        model = getattr(import_torchvision().models, name)(num_classes=10, **choices)
    return randomized(model)


def randomized(model: nn.Module) -> nn.Module:
    """The model with random statistics and no parameter at zero, in evaluation mode."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    for parameter in model.parameters():
        if not parameter.any():  # some start at zero, where nothing could go wrong
            parameter.data.normal_(0, 0.05)
    return model.eval()


def import_torchvision():
    """Its networks, whether or not its compiled operators fit the build of torch."""
    try:
        import torchvision
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import_torchvision.library = library  # which lives as long as its operators
        import torchvision
    import torchvision.models

    return torchvision


def multiply_adds(network: QuantizedNetwork) -> tuple[int, int]:
    """Multiply-adds of an image: those on arrays, and all.

    Counted are products of matrices, attention's too; scaling, normalization and such are not.
    """
    on_arrays = 0
    for layer in network.layers:
        sides = layer.spec.output_sides(*layer.input_shape[1:])
        on_arrays += layer.spec.rows * layer.spec.outputs * prod(sides)
    blank = torch.zeros((1, *network.image_shape))
    with FlopCounterMode(display=False) as counter:  # which counts multiplying and adding each
        replace(network, image_range=None).logits(blank)
    return on_arrays, counter.get_total_flops() // 2


def digital(network: QuantizedNetwork) -> list[str]:
    """What digital steps compute, by their names."""
    kinds = {
        "module": lambda step: type(step.target).__name__,
        "function": lambda step: step.target.__name__,
        "method": lambda step: step.target.strip("_"),
    }
    names = {kinds[step.kind](step) for step in network.steps if step.kind in kinds}
    return sorted(names - set(MOVES.split()), key=str.lower)


def arrays_of(layer: LayerArrays) -> int:
    """Arrays that a layer, or a part of one, occupies."""
    rows, outputs = layer.layer.matrix.shape
    return count_arrays(rows, outputs, layer.layer.precision, layer.mapping).arrays


def row(name: str) -> dict:
    """One row of the table."""
    torch.set_num_threads(1)
    model, side = make(name), SIDES[name]
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(CALIBRATION + TRIED, 3, side, side, generator=generator)
    start = time.process_time()
    network = quantize(model, images[:CALIBRATION], "W8A8")
    seconds = time.process_time() - start
    with torch.no_grad():
        wanted = model(images[CALIBRATION:]).double().numpy()
    error = np.linalg.norm(network.logits(images[CALIBRATION:]) - wanted) / np.linalg.norm(wanted)
    on_arrays, whole = multiply_adds(network)
    start = time.process_time()
    chip = Chip(network, HARDWARE)
    written = time.process_time() - start
    few = images[CALIBRATION : CALIBRATION + ON_CHIP]
    same = bool((chip.logits(few, threads=1) == network.logits(few)).all())
    return {
        "network": name, "side": side, "layers": len(network.layers), "multiply_adds": whole,
        "share_on_arrays": round(on_arrays / whole, 4), "relative_error_w8a8": round(error, 4),
        "quantize_s": round(seconds, 1), "arrays": sum(map(arrays_of, chip.arrays)),
        "write_s": round(written, 1), "chip_equals_network": same,
        "digital": " ".join(digital(network)),
    }  # fmt: skip


def main() -> None:
    names = sys.argv[1:] or list(SIDES)
    known = pd.read_csv(TABLE).to_dict("records") if TABLE.exists() else []
    rows = {one["network"]: one for one in known}
    for name in names:
        rows[name] = row(name)
        print(rows[name], flush=True)
        found = [rows[name] for name in SIDES if name in rows]
        pd.DataFrame(found).convert_dtypes().to_csv(TABLE, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
