"""How pictures look to readers who see no green, and in a grey print.

``python -m artifact.figures.vision`` writes every committed figure both ways to ``build/vision``.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib import colors
from matplotlib.image import imread, imsave

from artifact.paths import BUILD, FIGURES

#: Machado, Oliveira and Fernandes, IEEE Trans. Vis. Comput. Graph. 15 (2009) 1291: deuteranopia,
#: severity 1, on linear RGB.
_DEUTERANOPIA = np.array([
    [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
])  # fmt: skip
#: Linear sRGB to CIE XYZ, relative to the white D65 (IEC 61966-2-1).
_XYZ = np.array([
    [0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip
_XYZ /= _XYZ.sum(axis=1, keepdims=True)
#: Least distance (CIE 1976, Delta E) of two series; 2.3 is just noticeable side by side.
LEAST = {"deuteranopia": 20.0, "grey": 8.0}


def seen(rgb: np.ndarray, how: str) -> np.ndarray:
    """Colours from 0 to 1, the last axis RGB, as ``"deuteranopia"`` or ``"grey"`` shows them.

    Examples
    --------
    >>> seen(np.array([1.0, 1.0, 1.0]), "grey").round(3).tolist()
    [1.0, 1.0, 1.0]
    """
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if how == "grey":
        linear = np.repeat((linear @ _XYZ[1])[..., None], 3, axis=-1)
    else:
        linear = np.clip(linear @ _DEUTERANOPIA.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Perceptual distance of two colours: CIE 1976, Delta E.

    Examples
    --------
    >>> round(distance(np.zeros(3), np.ones(3)))
    100
    """
    return float(np.linalg.norm(_lab(first) - _lab(second)))


def _lab(rgb: np.ndarray) -> np.ndarray:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    x, y, z = (
        np.cbrt(t) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in _XYZ @ linear
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def confused(palette: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Pairs of colours that cannot be told apart, and how they are looked at.

    Examples
    --------
    >>> confused(("#D55E00", "#009E73"))
    [('#D55E00', '#009E73', 'grey')]
    """
    found = []
    for first, second in combinations(palette, 2):
        for how, least in LEAST.items():
            pair = [seen(np.array(colors.to_rgb(colour)), how) for colour in (first, second)]
            if distance(*pair) < least:
                found.append((first, second, how))
    return found


def main() -> None:
    """Write every committed figure as it is seen."""
    folder = BUILD / "vision"
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(FIGURES.glob("*.png")):
        picture = imread(path)[..., :3]
        for how in LEAST:
            imsave(folder / f"{path.stem}-{how}.png", np.clip(seen(picture, how), 0, 1))
    print(folder)


if __name__ == "__main__":
    main()
