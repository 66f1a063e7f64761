"""Draw synthetic chest films and write them to disk in the layouts of both data sets.

    python -m data_processing.phantom --out data/raw --per-class 200

The films are drawings, made from random numbers alone; no patient's film went into them. They stand in for the real
sets wherever those cannot be had: the demonstration, the tests, a first look at the pipeline. An accuracy reached on
them says nothing about patients.

A film is drawn as an X-ray film comes about: every structure adds to, or takes from, the attenuation along the
beam (about 0 outside the body to about 1 in the mediastinum), and a tone curve turns attenuation into grey level.
Disease fills the lung's air: a fraction from 0 (clear) to 1 (airless) at every point. It is the only thing that differs
between the classes; anatomy, pose, exposure and film size are drawn alike for all of them, and so are the file formats,
save that the Kermany layout takes JPEG only.

Coordinates: x from -1 (patient's right, at the left of the film) to 1, y from -1 (neck) to 1 (abdomen); 1 is about
half the height of the film. Within a lung, `lateral` goes from 0 (mediastinum) to 1 (chest wall) and `level` from 0
(apex) to 1 (diaphragm).
"""

import argparse
import io
import math
import os
import shlex
import shutil
import signal
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.files import write_text
from nosign.manifest import MANIFEST, check_settings, read_manifest, write_manifest
from nosign.processes import process_map
from nosign.script import run, whole_number

STAGE = "phantom"
DRAWING_VERSION = 2  # raise it whenever the same seed gives other films
PER_CLASS = 200
FEWEST_PER_CLASS = 4
SURPLUS = 0.05  # share of films drawn beyond those asked for

COVIDX = "covidx-cxr2"
CHEST_XRAY = "chest-xray-pneumonia"
PNEUMONIA_NEGATIVES = 0.14  # for each normal negative; list 8A calls these pneumonia
UNLISTED_NEGATIVES = 2  # films in no row of list 8A
POSITIVE_SOURCES = ("sirm", "cohen", "fig1", "actmed", "sirm", "cohen", "sirm", "sirm", "cohen")
FILMS_PER_PATIENT = (1, 2, 1, 1, 1, 3, 1, 1)
COVIDX_TEST_EVERY = 10  # patients
CHEST_XRAY_TEST_EVERY = 8
CHEST_XRAY_VAL_EVERY = 40

ODD_FORMAT_EVERY = 8  # films
COVIDX_FORMATS = ("grey 16-bit PNG", "RGB JPEG", "grey PNG", "progressive JPEG")
CHEST_XRAY_FORMATS = ("RGB JPEG", "progressive JPEG")
JPEG_QUALITY = 93
EXIF_ORIENTATION = 0x0112
ROTATED_BY_VIEWER = 6  # a viewer turns the film by 90 degrees clockwise

FREED_BYTES = 1 << 24

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


def smooth_step(value, width):
    """Rise from 0 to 1 where `value` passes from -width/2 to width/2."""
    t = value * np.float32(1 / width)
    t += np.float32(0.5)
    np.clip(t, 0, 1, out=t)
    rise = t * t
    t *= -2
    t += 3
    rise *= t
    return rise


def blotches(rng, shape, cells):
    """Return smooth noise, float32 of `shape`, standard deviation about 0.8, with `cells` independent values a side."""
    from PIL import Image

    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def uniform_draws(rng, ranges):
    """Draw each named quantity uniformly from its range."""
    return SimpleNamespace(**{name: float(rng.uniform(*limits)) for name, limits in ranges.items()})


class View:
    """The film's pixel grid and how the patient stands before it.

    Attributes:
        shape: height and width of the film in pixels.
        x, y: float32 [height, width], the patient's coordinates at every pixel.
    """

    def __init__(self, shape, pose):
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

    def pixel(self, points):
        """Return the row and column, float [points], of places given as float [points, 2] in the patient's x and y."""
        height, width = self.shape
        place = (points + self._shift) @ np.linalg.inv(self._matrix).T
        return (place[:, 1] * height + height) / 2, (place[:, 0] * height + width) / 2

    def splat(self, points, weights):
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

    def window(self, center, reach):
        """Return the pair of slices that holds all points within `reach` (in x and y) of `center`."""
        corners = np.array([[i, j] for i in (-1, 1) for j in (-1, 1)]) * reach + center
        return tuple(slice(max(0, int(place.min())), max(0, int(place.max()) + 2)) for place in self.pixel(corners))

    def disc(self, center, radii, edge, lean=0.0):
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


def chest(view, body, turn):
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


def central_shadow(view, body, turn):
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


def soft_tissue(view, body, thorax):
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


def ribs(view, body, thorax):
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


def spine(view, body, turn):
    """Return a window of the film and the attenuation of the vertebrae there."""
    window = view.window((0.3 * turn, 0), (body.spine + 0.05, 1.5))
    away = np.abs(view.x[window] - 0.3 * turn)
    phase = (view.y[window] / body.vertebra) % 1 - 0.5
    column = smooth_step(body.spine - away, 0.04) * (1 - 0.5 * smooth_step(np.abs(phase) - 0.38, 0.12))
    pedicles = smooth_step(1 - np.hypot((away - 0.6 * body.spine) / 0.024, (phase + 0.12) / 0.28), 1.0)
    return window, body.spine_density * (column + 0.5 * pedicles)


def clavicles(view, body, thorax):
    """Return a window of the film and the attenuation of both clavicles there."""
    window = view.window((0, body.clavicle_y - 0.12), (1.0, 0.30))
    along = np.clip((thorax.away[window] - 0.09) / 0.76, 0, 1)
    axis = body.clavicle_y - body.clavicle_rise * along - 0.03 * np.sin(np.float32(2 * np.pi) * along)
    off_axis = np.abs(view.y[window] - axis) / (0.030 + 0.014 * np.abs(along - 0.5))
    ends = smooth_step(0.5 - np.abs(along - 0.5), 0.03)
    return window, 0.13 * smooth_step(1 - off_axis, 0.6) * (0.6 + 0.4 * np.minimum(off_axis, 1) ** 2) * ends


def other_bones(view, body, thorax, turn):
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


def airways(view, turn):
    """Return a window of the film and how much air trachea and main bronchi take out of the beam there, 0 to 1."""
    window = view.window((0.5 * turn, -0.75), (0.30, 0.65))
    x, y = view.x[window] - 0.5 * turn + 0.01, view.y[window]
    trachea = smooth_step(0.036 - np.abs(x), 0.03) * smooth_step(-0.30 - y, 0.06)
    down = np.clip((y + 0.31) / 0.16, 0, 1)
    bronchi = smooth_step(0.026 - np.abs(np.abs(x) - 0.19 * down), 0.03) * smooth_step(0.08 - np.abs(y + 0.23), 0.04)
    return window, np.maximum(trachea, 0.8 * bronchi)


def vessel_tree(rng, side, trunks=8):
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


def lung_markings(view, rng):
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


def clear(view, thorax, rng):
    """Return a lung without disease: nothing is filled."""
    return np.zeros(view.shape, np.float32)


def ground_glass(view, thorax, rng):
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


def consolidation(view, thorax, rng):
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


def attenuation(view, body, turn, disease, rng):
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


def expose(view, beam, exposure, rng):
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


def add_marker(film, rng):
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


def draw_film(seed, class_name, patient, film=1, disease=None):
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


def encoded(film, encoding):
    """Return a film as the bytes of an image file.

    Args:
        film: float32 [height, width] in [0, 1].
        encoding: one of `COVIDX_FORMATS`, "grey JPEG" or "JPEG with EXIF orientation".
    """
    from PIL import Image

    if encoding == "grey 16-bit PNG":
        image = Image.fromarray(np.round(film * 65535).astype(np.uint16))
    else:
        image = Image.fromarray(np.round(film * 255).astype(np.uint8))
    options = {"format": "PNG"} if encoding.endswith("PNG") else {"format": "JPEG", "quality": JPEG_QUALITY}
    if encoding == "RGB JPEG":
        image = image.convert("RGB")
    elif encoding == "progressive JPEG":
        options["progressive"] = True
    elif encoding == "JPEG with EXIF orientation":
        image = image.transpose(Image.Transpose.ROTATE_90)
        options["exif"] = Image.Exif()
        options["exif"][EXIF_ORIENTATION] = ROTATED_BY_VIEWER
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


@dataclass(frozen=True)
class Film:
    """One film to draw and where it goes.

    Attributes:
        class_name: what is drawn, one of `nosign.dataset.CLASSES`.
        patient, number: the patient, and which of the patient's films, from 1.
        path: file within the output folder, with forward slashes.
        encoding: see `encoded`.
        row: the row of COVIDx's lists as patient id, file, class, source; None for a film of the other set.
        class_8a: class in COVIDx's three-class list; None if it has no row there.
    """

    class_name: str
    patient: int
    number: int
    path: str
    encoding: str
    row: tuple = None
    class_8a: str = None


def visits(films, first_patient):
    """Deal films out to patients, one to three each.

    Yields:
        patient number, rank of the patient in this group (from 0), number of the film (from 1), rank of the film.
    """
    rank, film_rank = 0, 0
    while film_rank < films:
        count = FILMS_PER_PATIENT[rank % len(FILMS_PER_PATIENT)]
        for number in range(1, min(count, films - film_rank) + 1):
            yield first_patient + rank, rank, number, film_rank
            film_rank += 1
        rank += 1


def encoding_of(rank, formats, offset):
    """Return the file format of a group's film: odd ones at regular intervals, EXIF orientation once."""
    if rank == 1:
        return "JPEG with EXIF orientation"
    if rank % ODD_FORMAT_EVERY == 0:
        return formats[(rank // ODD_FORMAT_EVERY + offset) % len(formats)]
    return "grey JPEG"


def covidx_name(source, patient, number, seed):
    """Return patient id and file stem as the source writes them."""
    if source == "rsna":
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"phantom/{seed}/{patient}"))
        return name, name if number == 1 else f"{name}-{number}"
    if source == "sirm":
        return f"COVID {patient + 1}", f"COVID-{patient + 1}" + (f"-{number}" if number > 1 else "")
    if source == "fig1":
        return f"COVID-{patient + 1:05d}", f"COVID-{patient + 1:05d}" + "abc"[number - 1]
    if source == "actmed":
        return f"ANON{patient + 1}", f"CR.1.2.840.113564.{patient + 1}.{number}"
    return str(patient + 1), f"covid-19-phantom-{patient + 1}-day{number}"


def covidx_films(films, class_name, class_8a, first_patient, seed):
    """Plan one group of COVIDx films.

    Args:
        films: how many.
        class_8a: class in the three-class list, or None.
    """
    positive = class_8a == "COVID-19"
    planned = []
    for patient, rank, number, film_rank in visits(films, first_patient):
        source = POSITIVE_SOURCES[rank % len(POSITIVE_SOURCES)] if positive else "rsna"
        patient_id, stem = covidx_name(source, patient, number, seed)
        encoding = encoding_of(film_rank, COVIDX_FORMATS, 0 if positive else 2)
        name = stem + (".png" if encoding.endswith("PNG") else ".jpg")
        split = "test" if rank % COVIDX_TEST_EVERY == 1 else "train"
        row = (patient_id, name, "positive" if positive else "negative", source)
        planned.append(Film(class_name, patient, number, f"{COVIDX}/{split}/{name}", encoding, row, class_8a))
    return planned


def chest_xray_films(films, class_name, first_patient):
    """Plan one group of Kermany films."""
    planned = []
    for patient, rank, number, film_rank in visits(films, first_patient):
        if class_name == "Normal":
            folder, offset = "NORMAL", 0
            name = f"{'NORMAL2-' if rank % 2 else ''}IM-{rank + 1:04d}-{number:04d}.jpeg"
        else:
            folder, offset = "PNEUMONIA", 1
            name = f"person{rank + 1}_{'virus' if rank % 3 == 1 else 'bacteria'}_{film_rank + 1}.jpeg"
        split = "test" if rank % CHEST_XRAY_TEST_EVERY == 1 else "val" if rank % CHEST_XRAY_VAL_EVERY == 2 else "train"
        path = f"{CHEST_XRAY}/chest_xray/{split}/{folder}/{name}"
        planned.append(Film(class_name, patient, number, path, encoding_of(film_rank, CHEST_XRAY_FORMATS, offset)))
    return planned


def plan_films(per_class, seed):
    """Plan all films of a run.

    Args:
        per_class: films that each class must offer at least: COVID-19 positives, Kermany pneumonias, and normals of
            both sets together.

    Returns:
        list of `Film`.
    """
    films = per_class + math.ceil(SURPLUS * per_class)
    normal_negatives = films - films // 2
    groups = [
        (films, "COVID-19", "COVID-19"),
        (normal_negatives, "Normal", "normal"),
        (max(1, round(PNEUMONIA_NEGATIVES * normal_negatives)), "Pneumonia", "pneumonia"),
        (UNLISTED_NEGATIVES, "Normal", None),
    ]
    planned = []
    for count, class_name, class_8a in groups:
        planned += covidx_films(count, class_name, class_8a, next_patient(planned), seed)
    planned += chest_xray_films(films // 2, "Normal", next_patient(planned))
    planned += chest_xray_films(films, "Pneumonia", next_patient(planned))
    return planned


def next_patient(planned):
    """Return the first patient number that is still free."""
    return planned[-1].patient + 1 if planned else 0


def write_film(job):
    """Draw and write one film; runs in a worker process.

    Args:
        job: (output folder, seed, `Film`).
    """
    folder, seed, film = job
    pixels = draw_film(seed, film.class_name, film.patient, film.number)
    Path(folder, film.path).write_bytes(encoded(pixels, film.encoding))


def keep_freed_memory():
    """Save a third of the drawing time: have the C library keep the memory of freed arrays for the next ones.

    GNU's allocator does so for blocks no larger than the largest it has seen freed; elsewhere this does nothing.
    """
    np.empty(FREED_BYTES, np.uint8)


def start_worker():
    """Prepare a worker process; an interrupt is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()


def write_films(folder, films, seed, workers):
    """Draw all films into a folder, spread over processes, with a progress bar."""
    from tqdm import tqdm

    for parent in {Path(folder, film.path).parent for film in films}:
        parent.mkdir(parents=True, exist_ok=True)
    jobs = [(str(folder), seed, film) for film in films]
    if workers == 1:
        keep_freed_memory()
        for job in tqdm(jobs, unit="film", disable=None):
            write_film(job)
        return
    with process_map(min(workers, len(jobs)), chunksize=8, start="spawn", initializer=start_worker) as spread:
        for _ in tqdm(spread(write_film, jobs), total=len(jobs), unit="film", disable=None):
            pass


def write_lists(folder, films):
    """Write COVIDx's two-class and three-class lists."""
    for split in ("train", "test"):
        listed = [film for film in films if film.row and film.path.startswith(f"{COVIDX}/{split}/")]
        write_text(Path(folder, COVIDX, f"{split}.txt"), "".join(" ".join(film.row) + "\n" for film in listed))
        rows = [(*film.row[:2], film.class_8a, film.row[3]) for film in listed if film.class_8a]
        write_text(Path(folder, COVIDX, f"{split}_COVIDx8A.txt"), "".join(" ".join(row) + "\n" for row in rows))


def files_in(folder):
    """Return the paths of all files in a folder, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*") if not path.is_dir())


def check_own(out):
    """Refuse a folder that holds anything that this script did not write.

    Raises:
        UserError: `out` is a file, has no manifest of this stage, or holds files that the manifest does not list.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out}: a file, but a folder is to be written there; name another one with --out")
    present = files_in(out)
    manifest = read_manifest(out) or {}
    known = {MANIFEST, *manifest.get("outputs", {})} if manifest.get("stage") == STAGE else set()
    foreign = [path for path in present if path not in known]
    if foreign:
        raise UserError(
            f"{out}: holds {len(foreign)} files that this script did not write, such as {foreign[0]}; "
            "name another folder with --out"
        )


def already_there(out, settings):
    """Tell whether a folder holds just the films that these settings give.

    Raises:
        UserError: it holds the films of other settings, or some are missing.
    """
    manifest = check_settings(out, settings, "name another folder with --out, or replace them with --overwrite")
    if manifest is None:
        return False
    missing = [path for path in manifest["outputs"] if not (out / path).is_file()]
    if missing:
        raise UserError(f"{out}: {len(missing)} of its films are gone, such as {missing[0]}; draw them again with --overwrite")
    return True


def move_into_place(part, out):
    """Give a finished folder its name; what stood there was checked to be this script's own."""
    old = part.with_suffix(".old")
    if out.exists():
        out.rename(old)
    part.rename(out)
    if old.exists():
        shutil.rmtree(old)


def summary(films, out):
    """Return what was written, as lines of text."""
    counts = Counter(
        (film.row[3], film.row[2], film.class_8a or "in no row of list 8A")
        if film.row
        else ("Kermany", Path(film.path).parent.name, film.class_name)
        for film in films
    )
    lines = [f"{count:6d}  {source:8s} {label:10s} {drawn}" for (source, label, drawn), count in sorted(counts.items())]
    return "\n".join([f"{len(films)} films of {len({film.patient for film in films})} patients in {out}:", *lines])


def next_command(out, per_class):
    """Return the command that goes on from here."""
    return shlex.join(
        [
            "python",
            "-m",
            "data_processing.prepare",
            "--covidx",
            str(out / COVIDX),
            "--chest-xray",
            str(out / CHEST_XRAY),
            "--per-class",
            str(per_class),
        ]
    )


def parse_args(argv=None):
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m data_processing.phantom", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write, e.g. data/raw")
    parser.add_argument(
        "--per-class",
        type=whole_number(FEWEST_PER_CLASS),
        default=PER_CLASS,
        metavar="N",
        help="films that each class can offer at least (default: %(default)s)",
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="same seed, same films (default: %(default)s)")
    parser.add_argument(
        "--workers",
        type=whole_number(1),
        default=os.cpu_count() or 1,
        help="processes; the films do not depend on it (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace films that this script drew before")
    return parser.parse_args(argv)


def main(argv=None):
    """Write the films and return the exit status."""
    args = parse_args(argv)
    started = time.time()
    settings = {"per_class": args.per_class, "seed": args.seed, "drawing": DRAWING_VERSION}
    check_own(args.out)
    if not args.overwrite and already_there(args.out, settings):
        print(f"already there: {args.out}\nnext: {next_command(args.out, args.per_class)}")
        return 0
    films = plan_films(args.per_class, args.seed)
    part = args.out.parent / f".{args.out.name}.{os.getpid()}.part"
    try:
        write_films(part, films, args.seed, args.workers)
        write_lists(part, films)
        outputs = [part / path for path in files_in(part)]
        write_manifest(part, stage=STAGE, settings=settings, outputs=outputs, started=started)
        move_into_place(part, args.out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(summary(films, args.out))
    print(f"next: {next_command(args.out, args.per_class)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
