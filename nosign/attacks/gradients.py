"""What attacks climb: the log-odds against the label, or one of two common mistakes, and its gradient."""

from collections.abc import Callable

from nosign.attacks.catalogue import KERAS_EPSILON
from nosign.attacks.directions import Tensor
from nosign.backend import gradient_of_total

# In place of the true class's logit; -inf would make NaN where one other class is left.
MASKED = -1e30


def compiled_gradient(model: Callable, loss: str = "cross-entropy") -> Callable:
    """Compile d loss / d input of a logits model in inference mode.

    The loss is summed over the batch, so no film's gradient depends on its neighbours. "cross-entropy" is followed through
    `log_odds_against`, which has its direction and, unlike it, a gradient however confident the model is.

    Args:
        model: keras.Model from films to logits.
        loss: one of `LOSSES`; see `softmax_as_logits` and `clipped_probabilities` for the two mistakes.

    Returns:
        Function of films, float32 [n, h, w, c], and labels, float32 one-hot [n, classes], that returns the gradient
        (float32, the films' shape; NaN for a film whose logits are not finite) and the logits (float32 [n, classes]) as
        backend tensors.
    """
    import keras

    of_films = {"cross-entropy": log_odds_against, "softmax": softmax_as_logits, "probabilities": clipped_probabilities}[loss]

    def total(labels: Tensor, logits: Tensor) -> Tensor:
        return keras.ops.sum(of_films(labels, logits))

    return gradient_of_total(model, total)


def log_odds_against(labels: Tensor, logits: Tensor) -> Tensor:
    """Return the log-odds against each film's label, m = logsumexp of the other classes' logits minus the label's.

    Cross-entropy is log(1 + exp(m)), so its gradient is sigmoid(m) times that of m: the same direction. In float32 the
    gradient of `log_softmax` loses the label's term once m falls below -17, and all of it at about -87; that of m does not.

    Args:
        labels: float32 one-hot [n, classes].
        logits: float32 [n, classes].

    Returns:
        float32 tensor [n].
    """
    from keras import ops

    others = ops.where(labels > 0, MASKED, logits)
    return ops.logsumexp(others, axis=-1) - ops.sum(ops.where(labels > 0, logits, 0.0), axis=-1)


def softmax_as_logits(labels: Tensor, logits: Tensor) -> Tensor:
    """Return the cross-entropy that comes out if a softmax is taken for logits: a mistake, for comparison only."""
    from keras import ops

    return -ops.sum(labels * ops.log_softmax(ops.softmax(logits, axis=-1), axis=-1), axis=-1)


def clipped_probabilities(labels: Tensor, logits: Tensor) -> Tensor:
    """Return the cross-entropy on probabilities, clipped as Keras does: a mistake, for comparison only.

    Beyond the clip, at a margin of about 16, it has no gradient.
    """
    from keras import ops

    probabilities = ops.softmax(logits, axis=-1)
    return -ops.sum(labels * ops.log(ops.clip(probabilities, KERAS_EPSILON, 1 - KERAS_EPSILON)), axis=-1)
