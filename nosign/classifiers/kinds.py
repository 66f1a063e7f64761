"""What a model's outputs can be: probabilities by a softmax or by sigmoids, logits, or nothing that is known."""

SOFTMAX, SIGMOID, LINEAR, UNKNOWN = "softmax", "sigmoid", "linear", "unknown"
