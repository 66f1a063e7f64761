"""How large a perturbation is: L-inf, L2, SSIM and PSNR of a film."""

import numpy as np


def linf(original: np.ndarray, changed: np.ndarray) -> float:
    """Return the largest absolute change of a component, a float in [0, 1]."""
    return float(np.max(np.abs(changed - original)))


def l2(original: np.ndarray, changed: np.ndarray) -> float:
    """Return the root of the summed squared changes over all pixels and channels."""
    return float(np.linalg.norm((changed - original).astype(np.float64)))


def ssim(original: np.ndarray, changed: np.ndarray) -> float:
    """Return the structural similarity of two films (Wang et al., 2004), windows of 7 pixels, mean over channels.

    Args:
        original, changed: float32 [height, width, channels] in [0, 1].
    """
    from skimage.metrics import structural_similarity

    return float(structural_similarity(original, changed, data_range=1.0, channel_axis=-1))


def psnr(original: np.ndarray, changed: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio in dB, a peak being 1; infinite for an unchanged film."""
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):
        return float(peak_signal_noise_ratio(original, changed, data_range=1.0))
