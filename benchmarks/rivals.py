"""Other libraries' attacks: one function per library, from a `Task` to its work.

Each runs in a process of its own, which imports nothing of `nosign` that sets anything for TensorFlow. Films and labels are
converted beforehand; the results stay with the library where it returns arrays, and are waited for.
"""

import numpy as np

from benchmarks.task import FGSM, PGD, STRENGTH, TABLE_TWO
from nosign.dataset import CLASSES


def works(single, many, strengths):
    """Return a library's work as a dict from name to function.

    Args:
        single: function of a strength that attacks all films with FGSM.
        many: the same for PGD within a budget of that strength.
        strengths: those of Table II. No library has FGNM, so half of the table is all that they can do.
    """
    return {
        FGSM: lambda: single(STRENGTH),
        PGD: lambda: many(STRENGTH),
        TABLE_TWO: lambda: [single(strength) for strength in strengths],
    }


def cleverhans(task):
    """CleverHans. Its PGD starts at the film, as it takes no noise and its own start is a pass more than ours."""
    import tensorflow
    from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
    from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

    films, labels, model = tensorflow.constant(task.films), tensorflow.constant(task.labels), task.logits_model
    # Its own checks of the values crash on NumPy 2.
    clip = {"clip_min": 0.0, "clip_max": 1.0, "y": labels, "sanity_checks": False}

    def many(strength):
        return projected_gradient_descent(
            model, films, strength, strength / task.steps, task.steps, np.inf, rand_init=None, **clip
        ).numpy()

    return works(lambda strength: fast_gradient_method(model, films, strength, np.inf, **clip).numpy(), many, task.strengths)


def foolbox(task):
    """Foolbox on TensorFlow."""
    import foolbox
    import tensorflow

    model = foolbox.TensorFlowModel(task.logits_model, bounds=(0, 1), device="/CPU:0")
    films, labels = tensorflow.constant(task.films), tensorflow.constant(task.labels)
    fgsm = foolbox.attacks.FGSM(random_start=False)

    def many(strength):
        pgd = foolbox.attacks.LinfPGD(abs_stepsize=strength / task.steps, steps=task.steps)
        return pgd(model, films, labels, epsilons=strength)

    return works(lambda strength: fgsm(model, films, labels, epsilons=strength), many, task.strengths)


def art(task):
    """The Adversarial Robustness Toolbox with its classifier for TensorFlow 2."""
    import keras
    from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
    from art.estimators.classification import TensorFlowV2Classifier

    classifier = TensorFlowV2Classifier(
        task.logits_model,
        nb_classes=len(CLASSES),
        input_shape=task.films.shape[1:],
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0, 1),
    )

    def single(strength):
        return FastGradientMethod(classifier, eps=strength, batch_size=task.count).generate(task.films, task.one_hot)

    def many(strength):
        pgd = ProjectedGradientDescent(
            classifier, eps=strength, eps_step=strength / task.steps, max_iter=task.steps, batch_size=task.count, verbose=False
        )
        return pgd.generate(task.films, task.one_hot)

    return works(single, many, task.strengths)


def torchattacks(task):
    """torchattacks on PyTorch."""
    import torch
    import torchattacks

    model, labels = pytorch_vgg16(), torch.from_numpy(task.labels)
    films = torch.from_numpy(channels_first(task.films))

    def many(strength):
        return torchattacks.PGD(model, eps=strength, alpha=strength / task.steps, steps=task.steps)(films, labels)

    return works(lambda strength: torchattacks.FGSM(model, eps=strength)(films, labels), many, task.strengths)


def channels_first(films):
    """Return films [n, height, width, 3] as PyTorch's layers want them, [n, 3, height, width]."""
    return np.ascontiguousarray(films.transpose(0, 3, 1, 2))


def pytorch_vgg16():
    """Return VGG16 with the paper's head to logits as a `torch.nn.Module`, with random weights."""
    from torch import nn

    layers, channels = [], 3
    for width, repeats in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(repeats):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    head = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.BatchNorm1d(channels),
        nn.Linear(channels, 64),
        nn.ReLU(),
        nn.Linear(64, len(CLASSES)),
    ]
    return nn.Sequential(*layers, *head).eval()
