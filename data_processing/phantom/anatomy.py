"""Draw a chest film from random numbers alone; no patient's film went into it.

A film is drawn as an X-ray film comes about: every structure adds to, or takes from, the attenuation along the
beam (about 0 outside the body to about 1 in the mediastinum), and a tone curve turns attenuation into grey level.
Disease fills the lung's air: a fraction from 0 (clear) to 1 (airless) at every point. It is the only thing that differs
between the classes; anatomy, pose, exposure and film size are drawn alike for all of them.

Coordinates: x from -1 (patient's right, at the left of the film) to 1, y from -1 (neck) to 1 (abdomen); 1 is about
half the height of the film. Within a lung, `lateral` goes from 0 (mediastinum) to 1 (chest wall) and `level` from 0
(apex) to 1 (diaphragm).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import SimpleNamespace

import numpy as np

from nosign.dataset import CLASSES

DRAWING_VERSION = 2  # raise it whenever the same seed gives other films

SHORT_SIDE = (220, 300)  # pixels
ASPECT = (0.9, 1.3)  # width / height

# Ranges of the uniform draws. Lengths and places in the coordinates above, densities in attenuation.
ANATOMY = {
    "cage_width": (0.66, 0.78),
    "apex": (-0.84, -0.74),
    "widest": (0.22, 0.38),
    "wall": (0.08, 0.20),
    "right_dome": (0.40, 0.54),
    "left_dome_below": (0.01, 0.09),
    "dome_curve": (0.9, 1.4),
    "heart_width": (0.26, 0.36),
    "heart_height": (0.26, 0.33),
    "heart_x": (0.07, 0.13),
    "knob": (0.07, 0.10),
    "mediastinum": (0.11, 0.16),
    "spine": (0.075, 0.095),
    "vertebra": (0.115, 0.14),
    "spine_density": (0.03, 0.09),
    "rib_spacing": (0.125, 0.148),
    "rib_thickness": (0.026, 0.036),
    "rib_drop": (0.22, 0.36),
    "rib_density": (0.05, 0.10),
    "clavicle_y": (-0.64, -0.54),
    "clavicle_rise": (0.02, 0.26),
    "neck": (0.88, 1.02),
    "shoulder": (0.20, 0.40),
    "lung_air": (0.50, 0.60),
    "markings": (0.8, 1.35),
    "breast": (-0.04, 0.05),
    "bubble": (-0.05, 0.18),
    "arm_gap": (-0.02, 0.14),
    "blade": (0.0, 0.16),
}
POSE = {
    "shift_x": (-0.04, 0.04),
    "shift_y": (-0.04, 0.04),
    "tilt": (-0.04, 0.04),
    "scale_x": (0.98, 1.12),
    "scale_y": (0.96, 1.08),
    "turn": (-0.03, 0.03),
}
REPEAT_POSE = {
    "shift_x": (-0.02, 0.02),
    "shift_y": (-0.02, 0.02),
    "tilt": (-0.02, 0.02),
    "scale_x": (-0.02, 0.02),
    "scale_y": (-0.02, 0.02),
    "turn": (-0.01, 0.01),
}
EXPOSURE = {
    "darkest": (-0.03, 0.06),
    "whitest": (0.98, 1.14),
    "gamma": (0.86, 1.12),
    "black": (0.0, 0.06),
    "white": (0.92, 1.0),
    "shading_x": (-0.03, 0.03),
    "shading_y": (-0.03, 0.03),
    "noise": (0.006, 0.018),
}
POINTS_OF_BRANCH = (56, 36, 24)  # of the first, second and third order
MARKER_SHARE = 0.6  # of films
COLLIMATED_SHARE = 0.2


def smooth_step(value: np.ndarray, width: float) -> np.ndarray:
    """Rise from 0 to 1 where `value` passes from -width/2 to width/2."""
    t = value * np.float32(1 / width)
    t += np.float32(0.5)
    np.clip(t, 0, 1, out=t)
    rise = t * t
    t *= -2
    t += 3
    rise *= t
    return rise


def blotches(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Return smooth noise, float32 of `shape`, standard deviation about 0.8, with `cells` independent values a side."""
    from PIL import Image

    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def uniform_draws(rng: np.random.Generator, ranges: Mapping[str, tuple[float, float]]) -> SimpleNamespace:
    """Draw each named quantity uniformly from its range."""
    return SimpleNamespace(**{name: float(rng.uniform(*limits)) for name, limits in ranges.items()})


class View:
    """The film's pixel grid and how the patient stands before it.

    Attributes:
        shape: height and width of the film in pixels.
        x, y: float32 [height, width], the patient's coordinates at every pixel.
    """

    def __init__(self, shape: tuple[int, int], pose: SimpleNamespace) -> None:
        self.shape = shape
        height, width = shape
        stretch = math.sqrt(width / height / 1.05)
        turn = np.array([[math.cos(pose.tilt), math.sin(pose.tilt)], [-math.sin(pose.tilt), math.cos(pose.tilt)]])
        self._matrix = np.diag([1 / (pose.scale_x * stretch), 1 / pose.scale_y]) @ turn
        self._shift = np.array([pose.shift_x, pose.shift_y])
        across = ((2 * np.arange(width) + 1 - width) / height).astype(np.float32)[None, :]
        down = ((2 * np.arange(height) + 1 - height) / height).astype(np.float32)[:, None]
        (xx, xy), (yx, yy) = self._matrix.tolist()
        self.x = xx * across + xy * down - pose.shift_x
        self.y = yx * across + yy * down - pose.shift_y

    def pixel(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the row and column, float [points], of places given as float [points, 2] in the patient's x and y."""
        height, width = self.shape
        place = (points + self._shift) @ np.linalg.inv(self._matrix).T
        return (place[:, 1] * height + height) / 2, (place[:, 0] * height + width) / 2

    def splat(self, points: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Add up weighted points on the film.

        Args:
            points: float [points, 2], x and y of the patient.
            weights: float [points].

        Returns:
            float32 [height, width].
        """
        height, width = self.shape
        row, column = (np.floor(place).astype(int) for place in self.pixel(points))
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        flat = np.bincount(row[inside] * width + column[inside], weights[inside], height * width)
        return flat.reshape(self.shape).astype(np.float32)

    def window(self, center: tuple[float, float], reach: tuple[float, float]) -> tuple[slice, ...]:
        """Return the pair of slices that holds all points within `reach` (in x and y) of `center`."""
        corners = np.array([[i, j] for i in (-1, 1) for j in (-1, 1)]) * reach + center
        return tuple(slice(max(0, int(place.min())), max(0, int(place.max()) + 2)) for place in self.pixel(corners))

    def disc(
        self, center: tuple[float, float], radii: tuple[float, float], edge: float, lean: float = 0.0
    ) -> tuple[tuple[slice, ...], np.ndarray]:
        """Draw an ellipse with a soft edge.

        Args:
            center, radii: in the patient's coordinates.
            edge: width of the edge.
            lean: shift in x for each unit of y below the center.

        Returns:
            The window (a pair of slices) that holds the ellipse, and float32 values from 0 to 1 there.
        """
        window = self.window(center, (radii[0] + edge + abs(lean) * (radii[1] + edge), radii[1] + edge))
        y = self.y[window] - center[1]
        x = self.x[window] - center[0] - lean * y
        return window, smooth_step((1 - np.hypot(x / radii[0], y / radii[1])) * min(radii), edge)


def chest(view: View, body: SimpleNamespace, turn: float) -> SimpleNamespace:
    """Lay out lungs, mediastinum and diaphragm.

    Args:
        turn: how far the patient is turned, as the shift of the mediastinum in x.

    Returns:
        Namespace of float32 [height, width] arrays: `side` (-1 right lung, 1 left lung), `away` (|x|), `cage`
        (half-width of the rib cage at this height), `below` (depth below the diaphragm), `lateral`, `level`,
        `mediastinum` (0 to 1) and `lung` (0 to 1, the share of the beam's way that is air).
    """
    x, y = view.x, view.y
    away = np.abs(x)
    up = np.clip((body.widest - y) / (body.widest - body.apex), 0, 1)
    cage = body.cage_width * np.sqrt(1 - up * up * np.sqrt(up)) * (1 - 0.15 * np.clip(y - body.widest, 0, 1))
    dome = np.where(x < 0, np.float32(body.right_dome), np.float32(body.right_dome + body.left_dome_below))
    dome += body.dome_curve * (away - 0.30) ** 2
    mediastinum = central_shadow(view, body, turn)
    lateral = np.clip((away - 0.09) / np.maximum(cage - 0.09, 0.02), 0, 1)
    depth = np.sqrt(np.clip(4.2 * lateral * (1 - lateral), 0, 1))
    lung = smooth_step(cage - away, 0.035) * smooth_step(dome - y, 0.035) * (0.42 + 0.58 * depth) * (1 - mediastinum)
    level = np.clip((y - body.apex) / (dome - body.apex), 0, 1)
    return SimpleNamespace(
        side=np.sign(x), away=away, cage=cage, below=y - dome, lateral=lateral, level=level, mediastinum=mediastinum, lung=lung
    )


def central_shadow(view: View, body: SimpleNamespace, turn: float) -> np.ndarray:
    """Return the mediastinum, 0 to 1: great vessels, aortic knob, pulmonary trunk and the heart on the diaphragm."""
    middle = np.abs(view.x - turn - 0.03 * view.y)
    shadow = smooth_step(body.mediastinum + 0.35 * np.clip(-0.66 - view.y, 0, 1) - middle, 0.07)
    heart_y = body.right_dome + 0.02 - body.heart_height / 2
    for center, radii, edge, lean in (
        ((body.heart_x, heart_y), (body.heart_width, body.heart_height), 0.04, 0.35),
        ((-0.05, heart_y - 0.05), (0.16, 0.30), 0.05, 0.0),
        ((0.07, -0.36), (body.knob + 0.04, body.knob), 0.04, 0.0),
        ((0.09, -0.12), (0.12, 0.22), 0.06, 0.2),
    ):
        window, disc = view.disc((center[0] + turn, center[1]), radii, edge, lean)
        shadow[window] = np.maximum(shadow[window], disc)
    return shadow


def soft_tissue(view: View, body: SimpleNamespace, thorax: SimpleNamespace) -> np.ndarray:
    """Return the attenuation of trunk, neck, shoulders, arms and abdomen, without the lungs' air."""
    y, away = view.y, thorax.away
    trunk_width = body.cage_width + body.wall + 0.05 * np.clip(y, 0, 1)
    out = np.clip(away - 0.16, 0, 2)
    below_shoulder = smooth_step(y + body.neck - body.shoulder * (out + 0.25 * np.sqrt(out)), 0.09)
    trunk = smooth_step(trunk_width + 1.3 * np.clip(-0.30 - y, 0, 1) - away, 0.05)
    arm = smooth_step(away - trunk_width - body.arm_gap - 0.22 * (y + 0.3), 0.05) * below_shoulder
    thick = np.sqrt(np.clip(1.04 - (away / (trunk_width + 0.04)) ** 2, 0.10, 1))
    tissue = np.maximum(trunk * below_shoulder * (0.22 + 0.54 * thick), 0.38 * arm)
    np.maximum(tissue, 0.62 * smooth_step(0.20 - away, 0.10), out=tissue)
    tissue += 0.13 * smooth_step(thorax.below, 0.05) * smooth_step(trunk_width - away, 0.2)
    tissue += 0.10 * thorax.mediastinum * trunk
    shapes = [(body.breast, (side * 0.46, 0.30), (0.34, 0.32), 0.12) for side in (-1, 1)]
    shapes.append((-max(body.bubble, 0), (0.36, body.right_dome + body.left_dome_below + 0.11), (0.15, 0.07), 0.06))
    for density, center, radii, edge in shapes:
        window, disc = view.disc(center, radii, edge)
        tissue[window] += density * disc
    return tissue


def ribs(view: View, body: SimpleNamespace, thorax: SimpleNamespace) -> np.ndarray:
    """Return the attenuation of posterior and anterior ribs; they meet at the chest wall."""
    across = thorax.away / body.cage_width
    squared = across * across
    first = body.apex + 0.03
    inside = smooth_step(thorax.cage * 1.03 - thorax.away, 0.03)
    back = view.y - first - body.rib_drop * squared + 0.06 * np.sin(np.float32(np.pi) * across)
    front = view.y - first - body.rib_drop - 0.42 * (1 - across)
    total = np.zeros(view.shape, np.float32)
    for height, last, shown in (
        (back, 10, smooth_step(thorax.away - 0.07, 0.04) * (1 + 1.1 * squared * squared * squared)),
        (front, 7, 0.6 * smooth_step(across - 0.46, 0.2)),
    ):
        number = np.round(height / body.rib_spacing)
        off_axis = np.abs(height - number * body.rib_spacing) / body.rib_thickness
        band = smooth_step(1 - off_axis, 0.5) * (0.65 + 0.35 * off_axis * off_axis)
        total += band * shown * ((number >= 0) & (number <= last))
    return body.rib_density * total * inside * (1 - 0.6 * smooth_step(thorax.below, 0.2))


def spine(view: View, body: SimpleNamespace, turn: float) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return a window of the film and the attenuation of the vertebrae there."""
    window = view.window((0.3 * turn, 0), (body.spine + 0.05, 1.5))
    away = np.abs(view.x[window] - 0.3 * turn)
    phase = (view.y[window] / body.vertebra) % 1 - 0.5
    column = smooth_step(body.spine - away, 0.04) * (1 - 0.5 * smooth_step(np.abs(phase) - 0.38, 0.12))
    pedicles = smooth_step(1 - np.hypot((away - 0.6 * body.spine) / 0.024, (phase + 0.12) / 0.28), 1.0)
    return window, body.spine_density * (column + 0.5 * pedicles)


def clavicles(view: View, body: SimpleNamespace, thorax: SimpleNamespace) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return a window of the film and the attenuation of both clavicles there."""
    window = view.window((0, body.clavicle_y - 0.12), (1.0, 0.30))
    along = np.clip((thorax.away[window] - 0.09) / 0.76, 0, 1)
    axis = body.clavicle_y - body.clavicle_rise * along - 0.03 * np.sin(np.float32(2 * np.pi) * along)
    off_axis = np.abs(view.y[window] - axis) / (0.030 + 0.014 * np.abs(along - 0.5))
    ends = smooth_step(0.5 - np.abs(along - 0.5), 0.03)
    return window, 0.13 * smooth_step(1 - off_axis, 0.6) * (0.6 + 0.4 * np.minimum(off_axis, 1) ** 2) * ends


def other_bones(view: View, body: SimpleNamespace, thorax: SimpleNamespace, turn: float) -> np.ndarray:
    """Return the attenuation of spine, clavicles, shoulder blades and arms' bones."""
    bones = np.zeros(view.shape, np.float32)
    for window, bone in (spine(view, body, turn), clavicles(view, body, thorax)):
        bones[window] += bone
    for side in (-1, 1):
        for density, center, radii, edge, lean in (
            (0.05, (0.72 + body.blade, -0.36), (0.15, 0.30), 0.04, 0.35),
            (0.10, (0.93 + body.blade, -0.60), (0.11, 0.12), 0.06, 0.0),
            (0.06, (1.00 + body.blade, -0.35), (0.06, 0.40), 0.04, 0.15),
        ):
            window, disc = view.disc((side * center[0], center[1]), radii, edge, side * lean)
            bones[window] += density * disc
    return bones


def airways(view: View, turn: float) -> tuple[tuple[slice, ...], np.ndarray]:
    """Return a window of the film and how much air trachea and main bronchi take out of the beam there, 0 to 1."""
    window = view.window((0.5 * turn, -0.75), (0.30, 0.65))
    x, y = view.x[window] - 0.5 * turn + 0.01, view.y[window]
    trachea = smooth_step(0.036 - np.abs(x), 0.03) * smooth_step(-0.30 - y, 0.06)
    down = np.clip((y + 0.31) / 0.16, 0, 1)
    bronchi = smooth_step(0.026 - np.abs(np.abs(x) - 0.19 * down), 0.03) * smooth_step(0.08 - np.abs(y + 0.23), 0.04)
    return window, np.maximum(trachea, 0.8 * bronchi)


def vessel_tree(rng: np.random.Generator, side: int, trunks: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Draw the branching lines that leave one hilum.

    Args:
        side: -1 for the right lung, 1 for the left.
        trunks: number of branches of the first order; each carries three of the second and nine of the third.

    Returns:
        places: float [branches * points, 2], x and y along the branches, and their widths: float [branches * points],
        1 at the hilum, falling towards the wall.
    """
    hilum = np.array([side * 0.19, -0.10 + 0.03 * (side < 0)])
    angle = np.linspace(-1.45, 1.40, trunks) + rng.normal(0, 0.12, trunks)
    start, length, caliber = np.tile(hilum, (trunks, 1)), rng.uniform(0.35, 0.62, trunks), np.full(trunks, 1.0)
    places, widths = [], []
    for points in POINTS_OF_BRANCH:
        step = np.linspace(0, 1, points)
        bend = rng.normal(0, 0.35, angle.size)
        heading = angle[:, None] + bend[:, None] * step
        stride = length[:, None] / points
        line = np.stack([side * np.cos(heading) * stride, np.sin(heading) * stride], -1).cumsum(1) + start[:, None]
        places.append(line.reshape(-1, 2))
        widths.append((caliber[:, None] * (1 - 0.75 * step)).ravel())
        fork = rng.integers(points // 6, points * 4 // 5, (angle.size, 3))
        parent = np.repeat(np.arange(angle.size), 3)
        fork = fork.ravel()
        start, caliber = line[parent, fork], (caliber[parent] * (1 - 0.75 * step[fork])) * 0.8
        angle = heading[parent, fork] + rng.choice([-1, 1], parent.size) * rng.uniform(0.3, 0.8, parent.size)
        length = length[parent] * rng.uniform(0.35, 0.7, parent.size)
    return np.concatenate(places), np.concatenate(widths)


def lung_markings(view: View, rng: np.random.Generator) -> np.ndarray:
    """Return hila and vessels as attenuation of a fully aerated lung, about 0 to 0.3."""
    from scipy.ndimage import gaussian_filter

    pixels = view.shape[0] / 250
    trees = [vessel_tree(rng, side) for side in (-1, 1)]
    places, widths = (np.concatenate(parts) for parts in zip(*trees))
    thick = gaussian_filter(view.splat(places, widths**2), 1.5 * pixels, truncate=2.5)
    thin = gaussian_filter(view.splat(places, np.minimum(widths, 0.3)), 0.8 * pixels, truncate=2.5)
    marks = 0.24 * np.tanh(0.40 * thick) + 0.22 * np.tanh(0.9 * thin)
    for side in (-1, 1):
        window, hilum = view.disc((side * 0.20, -0.07 + 0.03 * (side < 0)), (0.13, 0.20), 0.24)
        marks[window] += 0.14 * hilum
    return marks


def clear(view: View, thorax: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Return a lung without disease: nothing is filled."""
    return np.zeros(view.shape, np.float32)


def ground_glass(view: View, thorax: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Fill patches of both lungs a little, mostly at the periphery and the bases, with a fine net of lines.

    Returns:
        float32 [height, width], the fraction of the air that is replaced, 0 to about 0.9.
    """
    from PIL import Image

    extent, density = rng.uniform(0.9, 1.2), rng.uniform(0.56, 0.8)
    side, lateral, level = (part[::4, ::4] for part in (thorax.side, thorax.lateral, thorax.level))
    nearness = np.full(side.shape, -1, np.float32)
    for this_side in (-1, 1):
        for _ in range(rng.integers(4, 7)):
            center = rng.uniform(0.55, 1.0), rng.uniform(0.55, 1.0) if rng.random() < 0.8 else rng.uniform(0.25, 0.55)
            radii = extent * rng.uniform(0.24, 0.42), extent * rng.uniform(0.11, 0.21)
            distance = np.hypot((lateral - center[0]) / radii[0], (level - center[1]) / radii[1])
            nearness = np.maximum(nearness, np.where(side == this_side, 1 - distance, -1))
    nearness = np.asarray(Image.fromarray(nearness).resize(view.shape[::-1], Image.Resampling.BILINEAR))
    patch = smooth_step(nearness + 0.30 * blotches(rng, view.shape, 20), 0.8)
    net = np.abs(blotches(rng, view.shape, 64)) + np.abs(blotches(rng, view.shape, 37))
    return density * patch * (1.2 - 0.25 * np.minimum(net, 2))


LOBES = {  # side, center (lateral, level), radii, where the fissure bounds it (level), which side of the fissure is ill
    "right upper": (-1, (0.50, 0.34), (0.65, 0.28), 0.50, -1),
    "right middle": (-1, (0.30, 0.72), (0.60, 0.26), 0.55, 1),
    "right lower": (-1, (0.55, 0.85), (0.65, 0.30), None, 0),
    "left upper": (1, (0.50, 0.34), (0.65, 0.27), None, 0),
    "lingula": (1, (0.40, 0.68), (0.60, 0.22), 0.52, 1),
    "left lower": (1, (0.55, 0.86), (0.65, 0.30), None, 0),
}


def consolidation(view: View, thorax: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Fill one lobe, or a focus in it, densely: partly a sharp border at the fissure, bronchi that stay open.

    Returns:
        float32 [height, width], the fraction of the air that is replaced, 0 to about 1.1.
    """
    from scipy.ndimage import gaussian_filter

    side, center, radii, fissure, ill_side = LOBES[list(LOBES)[rng.integers(len(LOBES))]]
    size, density = rng.uniform(0.95, 1.25), rng.uniform(0.75, 1.0)
    center = (center + rng.normal(0, 0.05, 2)).tolist()
    slope = rng.uniform(-0.08, 0.08)
    distance = np.hypot((thorax.lateral - center[0]) / radii[0], (thorax.level - center[1]) / radii[1]) / size
    filled = smooth_step(1 - distance + 0.22 * blotches(rng, view.shape, 9), 0.7) * (thorax.side == side)
    if fissure is not None:
        filled *= smooth_step(ill_side * (thorax.level - fissure - slope * thorax.lateral), 0.03)
    places, widths = vessel_tree(rng, side, trunks=6)
    open_bronchi = np.tanh(gaussian_filter(view.splat(places, widths * (widths > 0.25)), 1.3 * view.shape[0] / 250))
    return density * filled * (1 - 0.4 * open_bronchi) * (1 + 0.08 * blotches(rng, view.shape, 24))


DISEASE = dict(zip(CLASSES, (ground_glass, clear, consolidation)))


def attenuation(
    view: View,
    body: SimpleNamespace,
    turn: float,
    disease: Callable[[View, SimpleNamespace, np.random.Generator], np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    """Add up everything that the beam meets.

    Args:
        disease: function of view, thorax and rng that returns the filled fraction of the lung.
        rng: the patient's own generator, so that a second film shows the same vessels and the same disease.

    Returns:
        float32 [height, width], about 0 (air) to 1.2.
    """
    thorax = chest(view, body, turn)
    marks = body.markings * lung_markings(view, rng)
    filled = disease(view, thorax, rng)
    bones = np.maximum(ribs(view, body, thorax), 0) + other_bones(view, body, thorax, turn)
    air = body.lung_air * thorax.lung - marks * np.minimum(1.5 * thorax.lung, 1)
    beam = soft_tissue(view, body, thorax) + bones - air * (1 - filled)
    window, open_air = airways(view, turn)
    beam[window] -= 0.10 * open_air
    return beam


def expose(view: View, beam: np.ndarray, exposure: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Turn attenuation into grey levels: tone curve, uneven field, quantum noise.

    Returns:
        float32 [height, width] in [0, 1].
    """
    from scipy.ndimage import uniform_filter

    span = exposure.whitest - exposure.darkest
    tone = np.clip((beam - exposure.darkest) / span, 0, 1) ** exposure.gamma
    tone *= 1 + exposure.shading_x * view.x + exposure.shading_y * view.y
    grain = rng.standard_normal(view.shape, dtype=np.float32)
    grain = 0.7 * grain + 0.9 * uniform_filter(grain, 2)
    film = exposure.black + (exposure.white - exposure.black) * tone + exposure.noise * grain
    return np.clip(film, 0, 1, dtype=np.float32)


def add_marker(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Print the side marker on some films, and black borders of the collimator on others."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = film.shape
    letter, where = ("R", 0.03) if rng.random() < 0.6 else ("L", 0.91)
    down, left = rng.uniform(0.03, 0.35), where + rng.uniform(0, 0.03)
    shown, collimated = rng.random() < MARKER_SHARE, rng.random() < COLLIMATED_SHARE
    if shown:
        image = Image.fromarray(film)
        font = ImageFont.load_default(size=int(0.06 * height))
        ImageDraw.Draw(image).text((int(left * width), int(down * height)), letter, fill=0.95, font=font)
        film = np.array(image)
    edges = rng.integers(1, max(2, height // 30), 4)
    if collimated:
        film[: edges[0]] = film[-edges[1] :] = film[:, : edges[2]] = film[:, -edges[3] :] = 0.02
    return film


def draw_film(
    seed: int,
    class_name: str,
    patient: int,
    film: int = 1,
    disease: Callable[[View, SimpleNamespace, np.random.Generator], np.ndarray] | None = None,
) -> np.ndarray:
    """Draw one film.

    The patient's generator (anatomy, vessels, disease) is that of "film 0"; NumPy pads short seeds with zeros, so
    films count from 1.

    Args:
        seed: the run's seed.
        class_name: one of `nosign.dataset.CLASSES`.
        patient: number of the patient, from 0.
        film: number of the patient's film, from 1.
        disease: function that fills the lung; the default is the class's own. With `clear` the same film comes
            out without disease.

    Returns:
        float32 [height, width] in [0, 1].
    """
    label = CLASSES.index(class_name)
    patient_rng = np.random.default_rng([seed, label, patient, 0])
    film_rng = np.random.default_rng([seed, label, patient, film])
    body, pose = uniform_draws(patient_rng, ANATOMY), uniform_draws(patient_rng, POSE)
    change = uniform_draws(film_rng, REPEAT_POSE)
    pose = SimpleNamespace(**{name: value + getattr(change, name) for name, value in vars(pose).items()})
    short, aspect = film_rng.uniform(*SHORT_SIDE), film_rng.uniform(*ASPECT)
    shape = (round(short), round(short * aspect)) if aspect > 1 else (round(short / aspect), round(short))
    exposure = uniform_draws(film_rng, EXPOSURE)
    view = View(shape, pose)
    beam = attenuation(view, body, pose.turn, disease or DISEASE[class_name], patient_rng)
    return add_marker(expose(view, beam, exposure, film_rng), film_rng)
