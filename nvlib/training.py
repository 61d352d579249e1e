"""Training of a torch network: in floating point, with quantization in the loop, with devices."""

from __future__ import annotations

import io
import zlib
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from nvlib import checks
from nvlib.arrays import parts_of
from nvlib.checks import require, require_instance, require_integer, require_number, settle_fields
from nvlib.chip import Chip
from nvlib.graph.steps import IMAGES, Step, Value
from nvlib.hardware import Hardware
from nvlib.network import QuantizedNetwork, as_images, as_labels
from nvlib.programming import held_codes
from nvlib.quantization import FakeQuantized, FakeQuantizedLayer
from nvlib.quantizers import Precision
from nvlib.storage import write_whole

CALIBRATION_IMAGES = 512


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; Adam with a cosine schedule.

    With weights that decay it is AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), with
    momentum it is stochastic gradient descent with Nesterov's. Images of a step move together,
    but where windows are cropped, every image moves on its own: the first `crop_epochs` see square
    windows of side `crop`, which take less time, and later ones windows as large as the images.
    """

    epochs: int
    batch: int = 128  # images per step
    learning_rate: float = 1e-3  # at its highest; it ends at zero
    shift: int = 0  # largest random translation of a training image, in pixels; zeros come in
    flip: bool = False  # mirror a random half of the images, left to right
    weight_decay: float = 0.0  # share of each weight lost per step, over the learning rate
    warm_up: float = 0.0  # share of the steps in which the learning rate rises to its highest
    momentum: float = 0.0  # of stochastic gradient descent; 0 is Adam
    crop: int = 0  # side of the windows that images are cut to at first, in pixels; 0 is none
    crop_epochs: int = 0  # that see these windows

    def __post_init__(self) -> None:
        settle_fields(self, "epochs batch", require_integer, 1, 2**31)
        settle_fields(self, "shift crop", require_integer, 0, 2**31)
        settle_fields(self, "crop_epochs", require_integer, 0, self.epochs if self.crop else 0)
        settle_fields(self, "learning_rate", require_number, 1e-12, 1e3)
        settle_fields(self, "weight_decay warm_up", require_number, 0, 1)
        settle_fields(self, "momentum", require_number, 0, 0.999)
        settle_fields(self, "flip", checks.require_flag)


#: Of `fine_tune`.
TUNING = Recipe(epochs=3)


def train(
    network: nn.Module, images: torch.Tensor, labels: torch.Tensor, recipe: Recipe, seed: int,
    device: str = "cpu", progress: bool = True, name: str = "train", kept: str | Path | None = None,
) -> None:  # fmt: skip
    """Minimize the cross-entropy of a network's output, in place; it comes back on the CPU.

    Parameters
    ----------
    images, labels : Tensor, shape (N, ...) and (N,)
        At least as many as one step takes, and an int64 class for each.
    seed : int
        Of the order of the images and their shifts.
    device : str
        Where torch computes.
    kept : str or Path, optional
        File that holds the training after each epoch. Where it is there already, training goes on
        from it, to the same numbers as if it had not been stopped; what a network itself draws,
        such as dropout, is not in it. Refused is one of another recipe, seed, start or data. It
        stays, and can be deleted once the network is saved.

    Examples
    --------
    >>> network, images = nn.Linear(2, 2), torch.eye(2).repeat(64, 1)
    >>> recipe = Recipe(epochs=50, batch=64, learning_rate=0.1, shift=0)
    >>> train(network, images, torch.arange(128) % 2, recipe, seed=0, progress=False)
    >>> network(torch.eye(2)).argmax(dim=1)
    tensor([0, 1])
    """
    require_instance("network", network, nn.Module, "pass a torch network")
    recipe = require_instance("recipe", recipe, Recipe, "write Recipe(epochs=3)")
    seed = require_integer("seed", seed, 0, 2**63)
    images = as_images(images)
    labels = as_labels(labels, len(images))
    enough, wanted = len(images) >= recipe.batch, f"at least {recipe.batch} for one step"
    mend = "pass more images, or a recipe of a smaller batch"
    require(enough, "images", wanted, len(images), mend)
    sides = tuple(images.shape[1:][-2:])
    least = min(sides) if len(sides) == 2 else 0
    for part, most in (("shift", max(least - 1, 0)), ("crop", least), ("flip", least > 0)):
        asked, wanted = getattr(recipe, part), f"at most {most} for images of sides {sides}"
        require(asked <= most, part, wanted, asked, f"write Recipe(..., {part}={type(asked)(0)})")
    network.to(device)
    images, labels = images.to(device), labels.to(device)
    generator = torch.Generator().manual_seed(seed)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    steps = recipe.epochs * (len(images) // recipe.batch)
    optimizer, schedule = _scheduled(trained, recipe, steps)
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    facts, done = {**asdict(recipe), "seed": seed}, 0
    if kept is not None:
        kept = checks.require_path("kept", kept)
        start = images, labels, *network.state_dict().values()
        facts["start"] = zlib.crc32(b"".join(v.cpu().contiguous().numpy().tobytes() for v in start))
        done = _resume(kept, facts, parts, generator) if kept.is_file() else 0
    bar = tqdm(total=steps, initial=done * steps // recipe.epochs, desc=name, disable=not progress)
    for epoch in range(done, recipe.epochs):
        window = (recipe.crop,) * 2 if epoch < recipe.crop_epochs else sides
        order = torch.randperm(len(images), generator=generator)
        for step in range(len(images) // recipe.batch):
            batch = order[step * recipe.batch : (step + 1) * recipe.batch]
            inputs = _augmented(images[batch], recipe, window, generator)
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(inputs), labels[batch]).backward()
            optimizer.step()
            schedule.step()
            bar.update()
        if kept is not None:
            _keep(kept, epoch + 1, facts, parts, generator)
    bar.close()
    network.to("cpu")
    finite = all(bool(torch.isfinite(parameter).all()) for parameter in trained)
    mend = "lower the learning rate"
    require(finite, "weights", "finite values after training", "NaN or infinity", mend)


def fine_tune(
    model: nn.Module, images: Any, labels: Any, precision: Precision | str, *,
    hardware: Hardware | None = None, recipe: Recipe | None = None, seed: int = 0,
    device: str = "cpu", progress: bool = True, **choices: Any,
) -> QuantizedNetwork:  # fmt: skip
    """Train a float network on with quantization in the loop, and freeze it for a chip.

    Batch normalization is folded first, and dropout is off. Devices come from the seed too.

    Parameters
    ----------
    model : torch.nn.Module
        A trained network; it is copied.
    images, labels : Tensor or ndarray, shape (N, ...) and (N,)
        As the model takes them, and the class of each.
    hardware : Hardware, optional
        Where given, training meets it. If cells alone differ from ideal ones, each step computes
        with the weights that newly written cells hold (`write_errors`); if reads do too, by noise,
        converters or drivers, each step reads newly written arrays (`chip_outputs`), which takes
        longer.
    recipe : Recipe, optional
        Three epochs by default.
    device : str
        Where torch computes, such as "cuda".
    **choices
        Of the quantization; see `nvlib.quantize`, also for what is refused.

    Examples
    --------
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> pixels = torch.rand(64, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    >>> recipe = Recipe(epochs=2, batch=16)
    >>> tuned = fine_tune(model, pixels, pixels.sum((1, 2, 3)) > 2, "W4A3", recipe=recipe,
    ...                   progress=False)
    >>> str(tuned.precision)
    'W4A3'
    """
    images = as_images(images)
    network = FakeQuantized(model, images[:CALIBRATION_IMAGES], precision, **choices)
    with torch.no_grad():
        classes = network(images[:1]).shape[-1]
    labels = as_labels(labels, len(images), classes)
    if hardware is not None:
        hardware = require_instance("hardware", hardware, Hardware, "write Hardware(...)")
        meet(hardware, network, require_integer("seed", seed, 0, 2**63))
    name = f"{'noise-aware' if hardware is not None else 'fine-tune'} {precision}"
    recipe = TUNING if recipe is None else recipe
    train(network, images, labels, recipe, seed, device, progress, name)
    return network.freeze()


def meet(hardware: Hardware, network: FakeQuantized, seed: int) -> None:
    """Let the layers of a network in training meet imperfect hardware, from the next step on."""
    generator = np.random.default_rng(seed)
    written = Hardware(hardware.mapping, hardware.devices, wires=hardware.wires)
    cells_alone = hardware == written and not np.any(hardware.devices.read_noise.sigma)
    layers = network.layers.items()
    parts = {path: len(parts_of(layer.freeze(path))) for path, layer in layers}
    hardware.adc.check_arrays(sum(parts.values()))
    count, scales = 0, hardware.adc.full_scale
    for path, layer in layers:
        own = hardware
        if isinstance(scales, tuple):
            adc = replace(hardware.adc, full_scale=scales[count : count + parts[path]])
            own = replace(hardware, adc=adc)
        if cells_alone:
            layer.disturb = partial(write_errors, own, generator)
        else:
            layer.read = partial(chip_outputs, own, generator)
        count += parts[path]


def chip_outputs(
    hardware: Hardware, generator: np.random.Generator, layer: FakeQuantizedLayer,
    inputs: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Outputs of a layer in training, as a new chip reads every batch, in the type of `inputs`.

    A step's outputs are those of newly written arrays, with their cells and wires, read noise and
    converters; its gradients are those of the ideal product (chip in the loop, Wan et al. 2022,
    doi:10.1038/s41586-022-04992-8).
    """
    frozen = layer.freeze("layer")
    step = Step("outputs", "layer", "layer", (Value(IMAGES),))
    alone = QuantizedNetwork((step,), (frozen,), frozen.input_shape)
    chip = Chip(alone, hardware, int(generator.integers(2**63)))
    return torch.from_numpy(chip(inputs)).to(inputs)


def write_errors(
    hardware: Hardware, generator: np.random.Generator, codes: torch.Tensor, precision: Precision,
    groups: int = 1,
) -> torch.Tensor:  # fmt: skip
    """Errors (outputs, ...), in codes, of the weight codes that a new chip holds at every step.

    The weights of each step are those that freshly written cells hold; gradients go to the
    weights that were asked for: noise-aware training (Joshi et al. 2020,
    doi:10.1038/s41467-020-16108-9). Of the hardware, mapping, devices and wires count. Each group
    has arrays of its own.
    """
    errors = []
    for asked in codes.cpu().numpy().reshape(groups, len(codes) // groups, -1):
        errors.append(held_codes(asked.T, precision, hardware, generator).T - asked)
    return torch.from_numpy(np.stack(errors).reshape(codes.shape)).to(codes)


def _keep(
    path: Path, epochs: int, facts: dict[str, Any], parts: dict[str, Any],
    generator: torch.Generator,
) -> None:  # fmt: skip
    """Write a training after so many epochs, whole or not at all."""
    states = {name: part.state_dict() for name, part in parts.items()}
    drawn, content = generator.get_state(), io.BytesIO()  # a full disk shall raise OSError
    torch.save({"epochs": epochs, "facts": facts, "drawn": drawn, **states}, content)
    write_whole(path, lambda place: place.write_bytes(content.getbuffer()))


def _resume(
    path: Path, facts: dict[str, Any], parts: dict[str, Any], generator: torch.Generator
) -> int:
    """Epochs that `path` holds; everything else is set as it was after them."""
    with checks.refusing("kept", "a file of train()", f"delete {path}", passing=ValueError):
        content = torch.load(path, "cpu", weights_only=True)
        mend = f"delete {path} to begin anew"
        require(content["facts"] == facts, "kept", f"a training by {facts}", content["facts"], mend)
        for name, part in parts.items():
            part.load_state_dict(content[name])
        generator.set_state(content["drawn"])
    return content["epochs"]


def _scheduled(
    trained: list[nn.Parameter], recipe: Recipe, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The optimizer of a recipe, and its learning rate over the steps."""
    optimizer: torch.optim.Optimizer
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.momentum:
        optimizer = torch.optim.SGD(trained, rate, recipe.momentum, 0, decay, nesterov=True)
    else:
        optimizer = torch.optim.AdamW(trained, rate, weight_decay=decay)
    rising = round(recipe.warm_up * steps)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps - rising, 1))
    if not rising:
        return optimizer, falling
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / rising, total_iters=rising)
    schedules = [rise, falling]
    return optimizer, torch.optim.lr_scheduler.SequentialLR(optimizer, schedules, [rising])


def _augmented(
    images: torch.Tensor, recipe: Recipe, window: tuple[int, ...], generator: torch.Generator
) -> torch.Tensor:
    """Images of a step: translated together or cut out one by one, and each mirrored or not."""
    if recipe.crop:
        images = _cropped(images, recipe.shift, window, generator)
    else:
        images = _shifted(images, recipe.shift, generator)
    if recipe.flip:
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        images[mirrored] = images[mirrored].flip(-1)
    return images


def _cropped(
    images: torch.Tensor, margin: int, window: tuple[int, ...], generator: torch.Generator
) -> torch.Tensor:
    """A window (height, breadth) of each image with `margin` zeros around it, each elsewhere."""
    padded = F.pad(images, [margin] * 4)
    height, breadth = window
    windows = padded.unfold(-2, height, 1).unfold(-2, breadth, 1)  # (N, ..., down, right, *window)
    count, (most_down, most_right) = len(images), windows.shape[-4:-2]
    down = torch.randint(0, most_down, (count,), generator=generator)
    right = torch.randint(0, most_right, (count,), generator=generator)
    return windows[torch.arange(count), ..., down, right, :, :]


def _shifted(images: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """Images translated together, by up to `most` pixels each way."""
    if not most:
        return images
    down, right = torch.randint(0, 2 * most + 1, (2,), generator=generator).tolist()
    height, breadth = images.shape[-2:]
    return F.pad(images, [most] * 4)[..., down : down + height, right : right + breadth]
