"""How many floating-point operations a model's passes take, counted from its layers."""

import numpy as np


def forward_flops(model):
    """Count the operations of one film's forward pass: a multiplication and an addition for each weight that is used.

    Convolutions take 2 k k c_in c_out h w, with h and w of their output, and dense layers 2 c_in c_out. Biases, activations,
    pooling and normalisation, together well below 1 % of VGG16, are left out.

    Args:
        model: functional keras.Model of convolutions, dense layers and what is left out; models may lie inside models.

    Returns:
        int.
    """
    import keras

    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += forward_flops(layer)
        elif isinstance(layer, keras.layers.Dense):
            total += 2 * int(np.prod(layer.kernel.shape))
        elif type(layer) is keras.layers.Conv2D:
            _, height, width, _ = layer.output.shape
            total += 2 * int(np.prod(layer.kernel.shape)) * height * width
    return total


def gradient_flops(model):
    """Count the operations of one film's d loss / d film: the forward pass and as many again.

    A layer's backward pass to its input runs over the same weights and places as its forward pass. The first layer takes part
    too, as the gradient wanted is that of the films; the gradients of the weights are not computed.
    """
    return 2 * forward_flops(model)
