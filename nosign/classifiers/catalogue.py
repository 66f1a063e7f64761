"""The backbones: one row of a table for each. Plain data; imports no Keras."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Backbone:
    """A backbone of `keras.applications` and what is published about it.

    Attributes:
        name: as in `keras.applications`, on the command line and in file names.
        minimum_size: smallest film height and width in pixels that it accepts.
        top1, top5: ImageNet validation accuracy in per cent (the paper's Table I).
        paper_parameters: parameter count in the paper's Table I.
        paper_correct: test films of 900 that the paper's fine-tuned classifier got right.
    """

    name: str
    minimum_size: int
    top1: float
    top5: float
    paper_parameters: int
    paper_correct: int


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone("VGG16", 32, 71.3, 90.1, 14_747_715, 830),
        Backbone("InceptionV3", 75, 77.9, 93.7, 21_934_307, 811),
        Backbone("DenseNet201", 32, 77.3, 93.6, 18_452_803, 871),
    )
}
PREPROCESSING = ("paper", "imagenet", "standardise")
WEIGHT_FILES = {
    "VGG16": "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "InceptionV3": "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "DenseNet201": "densenet201_weights_tf_dim_ordering_tf_kernels_notop.h5",
}
