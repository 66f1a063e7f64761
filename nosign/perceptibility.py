"""How large and how visible a perturbation is: norms and structural similarity."""

import numpy as np


def rounded_to_8_bits(films):
    """Return films as they come back from 8-bit storage.

    Args:
        films: float32 array in [0, 1].

    Returns:
        float32 array of the same shape, multiples of 1/255; a film that was 8-bit stays bit for bit.
    """
    return np.rint(films * np.float32(255)).astype(np.uint8).astype(np.float32) / np.float32(255)


def linf(original, changed):
    """Return the largest absolute change of a component, a float in [0, 1]."""
    return float(np.max(np.abs(changed - original)))


def l2(original, changed):
    """Return the root of the summed squared changes over all pixels and channels."""
    return float(np.linalg.norm((changed - original).astype(np.float64)))


def ssim(original, changed):
    """Return the structural similarity of two films (Wang et al., 2004), windows of 7 pixels, mean over channels.

    Args:
        original, changed: float32 [height, width, channels] in [0, 1].
    """
    from skimage.metrics import structural_similarity

    return float(structural_similarity(original, changed, data_range=1.0, channel_axis=-1))
