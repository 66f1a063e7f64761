"""The backbones: one row of a table for each. Plain data; imports no Keras."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """A backbone of `keras.applications`, what is published about it and how it is trained here.

    Attributes:
        name: as in `keras.applications`, on the command line and in file names.
        minimum_size: smallest film height and width in pixels that it accepts.
        top1, top5: ImageNet validation accuracy in per cent (the paper's Table I).
        weights: name of Keras's own file of ImageNet weights without the top.
        fine_tune_rate, fine_tune_epochs: largest learning rate and length of phase 2, by default; the best of a few trials on
            validation films (MODEL_CARD.md).
        scratch_rate: largest learning rate from scratch, by default.
    """

    name: str
    minimum_size: int
    top1: float
    top5: float
    weights: str
    fine_tune_rate: float
    fine_tune_epochs: int
    scratch_rate: float


NO_TOP = "weights_tf_dim_ordering_tf_kernels_notop.h5"
BACKBONES = {
    backbone.name: backbone
    for backbone in (
        # At three times this rate a third of an epoch undid what phase 1 had learnt; without batch normalisation it also
        # needs a lower rate from scratch than the others.
        Backbone("VGG16", 32, 71.3, 90.1, f"vgg16_{NO_TOP}", fine_tune_rate=1e-5, fine_tune_epochs=3, scratch_rate=1e-4),
        Backbone(
            "InceptionV3", 75, 77.9, 93.7, f"inception_v3_{NO_TOP}", fine_tune_rate=1e-4, fine_tune_epochs=5, scratch_rate=1e-3
        ),
        Backbone(
            "DenseNet201", 32, 77.3, 93.6, f"densenet201_{NO_TOP}", fine_tune_rate=1e-4, fine_tune_epochs=5, scratch_rate=1e-3
        ),
    )
}
PREPROCESSING = ("paper", "imagenet", "standardise")
