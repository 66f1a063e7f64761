"""The attacks: directions, steps, balls and starts, against closed forms and a slow reference."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import LinearSoftmax, curved_model, reference_attack

from nosign.attacks.catalogue import ATTACKS, LOSSES, NORMS, PAIRS, PROTOCOLS, UNIVERSAL, Condition
from nosign.attacks.directions import accumulate, no_sign_direction, sign_direction, step_effect
from nosign.attacks.loop import Attacker, unit_noise
from nosign.backend import to_numpy
from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.paper import PAPER_ATTACKS

SHAPE = (7, 5, 3)
BOTH = [pytest.param(sign_direction, id="sign"), pytest.param(no_sign_direction, id="no-sign")]
# What follows no gradient at the film, and APGD, which is no row of the one loop, have tests of their own.
FOLLOWING = [name for name, attack in ATTACKS.items() if not (attack.follows_field or attack.adaptive)]
EVERY_ATTACK = pytest.mark.parametrize("name", FOLLOWING)
EVERY_PROTOCOL = pytest.mark.parametrize("protocol", PROTOCOLS)
# The norm is that of the ball, which "paper" has none of.
EVERY_GEOMETRY = pytest.mark.parametrize("protocol, norm", [("paper", "linf"), *(("budget", norm) for norm in NORMS)])


@pytest.fixture(scope="module")
def linear():
    """A linear model, films about mid-grey (so that clipping to [0, 1] stays away) and labels it gets right."""
    model = LinearSoftmax(SHAPE, seed=1)
    films = np.random.default_rng(2).uniform(0.3, 0.7, (12, *SHAPE)).astype(np.float32)
    return model, films, np.eye(3, dtype=np.float32)[model.logits(films).argmax(-1)]


@pytest.fixture(scope="module")
def attacker(linear):
    return Attacker(linear[0].logits_model())


@pytest.fixture(scope="module")
def curved():
    """An `Attacker`, and what `curved_model` returns."""
    model, films, labels = curved_model()
    return Attacker(model), model, films, labels


def perturb(attacker, name, films, labels, strength, **options):
    """Attack films whose rows are 0, 1, ... with seed 0, and return NumPy."""
    options.setdefault("noise", unit_noise(0, range(len(films)), films.shape[1:]))
    return to_numpy(attacker.perturb(ATTACKS[name], films, labels, strength, **options))


def norms(array):
    """Return the L2 norm of each film, float64 [n]."""
    return np.linalg.norm(np.asarray(array, np.float64).reshape(len(array), -1), axis=1)


def exact_no_sign(gradient):
    """Return equation 5 in float64, whose squares neither overflow nor underflow here."""
    gradient = np.asarray(gradient, np.float64)
    length = norms(gradient).reshape(-1, 1, 1, 1)
    return gradient * norms(np.sign(gradient)).reshape(-1, 1, 1, 1) / np.where(length > 0, length, 1)


def test_the_table_pairs_each_sign_attack_with_its_no_sign_twin():
    assert sorted(name for pair in PAIRS for name in pair) == sorted((*FOLLOWING, *UNIVERSAL))
    for sign, no_sign in (map(ATTACKS.get, pair) for pair in PAIRS):
        assert (sign.direction, no_sign.direction) == ("sign", "no-sign")
        assert replace(sign, name=no_sign.name, title=no_sign.title, direction="no-sign") == no_sign


def test_the_papers_attacks_are_those_without_a_memory():
    attacks = map(ATTACKS.get, FOLLOWING)
    assert set(PAPER_ATTACKS) == {attack.name for attack in attacks if not (attack.momentum or attack.unclipped)}


@pytest.mark.parametrize("target", [None, *CLASSES])
@EVERY_GEOMETRY
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("step_factor", [1, 0.5, 1e-5, 1e10])
@pytest.mark.parametrize("steps, restarts", [(None, 1), (1, 1), (50, 1), (None, 5), (50, 12)])
def test_a_conditions_name_tells_all_of_it(protocol, norm, target, grey, loss, step_factor, steps, restarts):
    condition = Condition(protocol, norm, target, grey, loss, step_factor, steps, restarts)
    assert Condition.parse(str(condition)) == condition


def test_factor_steps_and_restarts_name_their_condition_where_they_are_not_the_papers():
    assert str(Condition("budget", step_factor=2)) == "budget-factor-2"
    assert str(Condition("budget", steps=50)) == "budget-steps-50"
    assert str(Condition("budget", restarts=5)) == "budget-restarts-5"
    whole = Condition("budget", step_factor=0.5, steps=50, restarts=5, grey=True)
    assert str(whole) == "budget-factor-0.5-steps-50-restarts-5-grey"
    assert str(Condition("budget", "l2", "Normal", True, "softmax", 0.5)) == "budget-l2-factor-0.5-loss-softmax-grey-to-Normal"
    assert str(Condition("budget", step_factor=1.0)) == "budget"


def test_a_manifest_says_no_more_of_a_condition_of_old_than_it_did():
    old = {"protocol": "budget", "norm": "l2", "target": "Normal", "grey": True, "loss": "softmax"}
    assert Condition(**old).settings == old
    assert Condition(**old, step_factor=0.5).settings == old | {"step_factor": 0.5}


@pytest.mark.parametrize(
    "name",
    [
        "",
        "free",
        "paper-l3",
        "paper-loss",
        "paper-loss-cross-entropy",
        "paper-to-Flu",
        "paper-to-",
        "budget-l2-l2",
        "paper-grey-l2",
        "xpaper",
        "budget-factor",
        "budget-factor-1",
        "budget-factor-2.0",
        "budget-factor--2",
        "budget-factor-nan",
        "budget-grey-factor-2",
        "budget-steps",
        "budget-steps-10",
        "budget-steps-050",
        "budget-steps-2.5",
        "budget-steps-50-factor-2",
        "budget-restarts-1",
        "budget-restarts-0",
        "budget-restarts-05",
    ],
)
def test_names_of_no_condition_are_not_taken_for_one(name):
    assert Condition.parse(name) is None


def test_sign_step_changes_every_pixel_with_a_gradient_by_the_strength(linear):
    model, films, labels = linear
    kernel = model.kernel.copy()
    kernel[::4] = 0
    attacker = Attacker(LinearSoftmax(SHAPE, kernel=kernel, bias=model.bias).logits_model())
    change = np.abs(perturb(attacker, "fgsm", films, labels, 0.01) - films).reshape(len(films), -1)
    expected = np.where(kernel.any(axis=1), 0.01, 0)
    np.testing.assert_allclose(change, np.broadcast_to(expected, change.shape), atol=1e-7)


def test_no_sign_step_has_the_l2_norm_of_the_sign_step_and_the_gradients_direction(linear, attacker):
    model, films, labels = linear
    change = perturb(attacker, "fgnm", films, labels, 0.001) - films
    gradient = np.stack([model.gradient(film, label.argmax()) for film, label in zip(films, labels)])
    np.testing.assert_allclose(norms(change), 0.001 * np.sqrt(np.prod(SHAPE)), rtol=1e-4)
    cosine = (change * gradient).reshape(len(films), -1).sum(1) / norms(change) / norms(gradient)
    np.testing.assert_allclose(cosine, 1, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(exponent=st.floats(-28, 28), mantissa=st.floats(1, 10), seed=st.integers(0, 99))
def test_no_sign_direction_does_not_change_with_the_gradients_scale(exponent, mantissa, seed):
    gradient = np.random.default_rng(seed).normal(size=(2, 4, 3, 1)).astype(np.float32)
    scaled = (gradient * (mantissa * 10.0**exponent)).astype(np.float32)
    np.testing.assert_allclose(to_numpy(no_sign_direction(scaled)), exact_no_sign(gradient), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_directions_of_tiny_and_huge_gradients_are_exact(scale):
    gradient = (np.random.default_rng(5).standard_t(2, (3, *SHAPE)) * scale).astype(np.float32)
    gradient[:, 0] = 0
    np.testing.assert_allclose(to_numpy(no_sign_direction(gradient)), exact_no_sign(gradient), rtol=1e-5)
    np.testing.assert_array_equal(to_numpy(sign_direction(gradient)), np.sign(gradient))


def test_films_of_very_different_gradients_keep_their_own_scale_in_a_batch():
    gradient = np.random.default_rng(6).normal(size=(5, *SHAPE)).astype(np.float32)
    scaled = gradient * np.float32([1e-30, 1e-10, 1, 1e10, 1e30]).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(to_numpy(no_sign_direction(scaled)), exact_no_sign(gradient), rtol=1e-5)


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize("value", [1e-30, -2.5, 1e30])
def test_a_single_pixel_with_a_gradient_moves_by_one(direction, value):
    gradient = np.zeros((2, *SHAPE), np.float32)
    gradient[1, 2, 3, 1] = value
    np.testing.assert_allclose(to_numpy(direction(gradient)), np.sign(gradient), atol=1e-6)


@pytest.mark.parametrize("direction", BOTH)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_film_without_a_finite_gradient_stays_and_leaves_its_neighbours_alone(direction, value):
    gradient = np.random.default_rng(7).normal(size=(4, *SHAPE)).astype(np.float32)
    undisturbed = to_numpy(direction(gradient))
    gradient[2, 1, 1, 1] = value
    found = to_numpy(direction(gradient))
    assert not found[2].any()
    np.testing.assert_array_equal(np.delete(found, 2, 0), np.delete(undisturbed, 2, 0))


@pytest.mark.parametrize("direction", BOTH)
def test_a_zero_gradient_gives_a_zero_direction(direction):
    np.testing.assert_array_equal(to_numpy(direction(np.zeros((2, *SHAPE), np.float32))), 0)


@EVERY_ATTACK
@EVERY_GEOMETRY
@pytest.mark.parametrize("targeted", [False, True])
def test_every_attack_follows_the_papers_equations(linear, attacker, name, protocol, norm, targeted):
    model, films, labels = linear
    labels = np.roll(labels, 1, axis=1) if targeted else labels
    noise = unit_noise(8, range(len(films)), SHAPE)
    options = {"protocol": protocol, "norm": norm, "targeted": targeted, "steps": 4}
    found = perturb(attacker, name, films, labels, 0.02, noise=noise, **options)
    expected = [
        reference_attack(model, name, film, label.argmax(), 0.02, noise=start, **options)
        for film, label, start in zip(films, labels, noise)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@EVERY_ATTACK
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("step_factor", [0.5, 4])
def test_a_step_factor_lengthens_every_step_and_leaves_the_ball_as_it_is(linear, attacker, name, norm, step_factor):
    model, films, labels = linear
    noise = unit_noise(8, range(len(films)), SHAPE)
    options = {"protocol": "budget", "norm": norm, "steps": 4, "step_factor": step_factor}
    found = perturb(attacker, name, films, labels, 0.02, noise=noise, **options)
    expected = [
        reference_attack(model, name, film, label.argmax(), 0.02, noise=start, **options)
        for film, label, start in zip(films, labels, noise)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    reach = np.abs(found - films).max() if norm == "linf" else norms(found - films).max() / np.sqrt(films[0].size)
    assert reach <= 0.02 + 1e-6


@EVERY_ATTACK
@EVERY_PROTOCOL
def test_strength_zero_returns_the_films_bit_for_bit(curved, name, protocol):
    attacker, _, films, labels = curved
    found = perturb(attacker, name, films, labels, 0, protocol=protocol, steps=2)
    assert found.dtype == np.float32 and found.tobytes() == films.tobytes()


@EVERY_ATTACK
@pytest.mark.parametrize("strength", [0.003, 5])
def test_films_stay_in_range_and_the_input_is_not_modified(curved, name, strength):
    attacker, _, films, labels = curved
    films = np.where(films < 0.2, 0, np.where(films > 0.8, 1, films)).astype(np.float32)
    before = films.copy(), labels.copy()
    found = perturb(attacker, name, films, labels, strength, steps=3)
    assert found.shape == films.shape and found.min() >= 0 and found.max() <= 1
    np.testing.assert_array_equal(films, before[0])
    np.testing.assert_array_equal(labels, before[1])


@EVERY_ATTACK
@pytest.mark.parametrize("strength", [0.0005, 0.03, 0.3])
def test_budget_protocol_never_leaves_its_ball(curved, name, strength):
    attacker, _, films, labels = curved
    change = np.abs(perturb(attacker, name, films, labels, strength, protocol="budget") - films)
    assert strength / 2 < change.max() <= strength + 1e-6


@EVERY_ATTACK
@pytest.mark.parametrize("strength", [0.0005, 0.03, 0.3])
def test_the_l2_ball_reaches_as_far_as_a_change_by_the_strength_everywhere(curved, name, strength):
    attacker, _, films, labels = curved
    change = norms(perturb(attacker, name, films, labels, strength, protocol="budget", norm="l2") - films)
    radius = strength * np.sqrt(films[0].size)
    # The sum of a film and its change is rounded to float32.
    assert radius / 2 < change.max() <= radius + 1e-7 * np.sqrt(films[0].size)


@given(st.floats(0.001, 1), st.floats(0, 2), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_projections_return_the_nearest_point_of_the_ball(radius, spread, seed):
    from keras import ops

    from nosign.attacks.directions import project_l2, project_linf

    rng = np.random.default_rng(seed)
    films = rng.random((2, *SHAPE), dtype=np.float32)
    moved = films + rng.normal(0, spread, films.shape).astype(np.float32)
    change = moved - films
    tensors = [ops.convert_to_tensor(array) for array in (moved, films, np.float32(radius))]
    linf, l2 = (to_numpy(project(*tensors)) for project in (project_linf, project_l2))
    np.testing.assert_allclose(linf, films + np.clip(change, -radius, radius), atol=1e-6)
    shrink = np.minimum(1, radius * np.sqrt(films[0].size) / np.maximum(norms(change), 1e-30)).reshape(-1, 1, 1, 1)
    np.testing.assert_allclose(l2, films + change * shrink, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_momentum_adds_gradients_of_unit_l1_norm_whatever_their_scale(scale):
    from keras import ops

    rng = np.random.default_rng(5)
    first, second = rng.normal(size=(2, 3, *SHAPE)).astype(np.float32)
    unit = [np.float64(g) / np.abs(np.float64(g)).sum((1, 2, 3), keepdims=True) for g in (first, second)]
    nothing, small, second = (
        ops.convert_to_tensor(array) for array in (np.zeros_like(first), first * np.float32(scale), second)
    )
    kept = accumulate(0.5, nothing, small)
    np.testing.assert_allclose(to_numpy(accumulate(0.5, kept, second)), 0.5 * unit[0] + unit[1], atol=1e-7)
    np.testing.assert_array_equal(to_numpy(accumulate(0.5, nothing, 0 * small)), 0)


def test_a_targeted_attack_leads_to_the_target_and_an_untargeted_one_away(curved):
    attacker, model, films, labels = curved
    aims = np.roll(labels, 1, axis=1)
    reached = perturb(attacker, "bim", films, aims, 0.05, targeted=True)
    assert (to_numpy(model(reached)).argmax(-1) == aims.argmax(-1)).mean() > 0.9
    assert (to_numpy(model(films)).argmax(-1) == aims.argmax(-1)).mean() == 0


@EVERY_ATTACK
def test_paper_protocol_takes_full_steps_and_its_ball_never_binds(linear, attacker, name):
    model, films, labels = linear
    strength, steps = 0.001, 10
    change = perturb(attacker, name, films, labels, strength, steps=steps, noise=np.zeros_like(films)) - films
    total = strength * (steps if ATTACKS[name].iterative else 1)
    if ATTACKS[name].direction == "sign":
        # The kernel's sign does not change along the way, except where the softmax's weights tip the balance.
        assert np.isclose(np.abs(change), total, atol=1e-6).mean() > 0.95
    else:
        assert np.all(norms(change) <= total * np.sqrt(np.prod(SHAPE)) * (1 + 1e-4))
        assert np.all(norms(change) > total * np.sqrt(np.prod(SHAPE)) * 0.98)


@EVERY_ATTACK
@pytest.mark.parametrize("batch", [1, 2, 3, 7, 20])
def test_a_film_alone_gives_the_same_result_as_in_a_batch(curved, name, batch):
    attacker, _, films, labels = curved
    noise = unit_noise(0, range(len(films)), films.shape[1:])
    together = perturb(attacker, name, films, labels, 0.004, steps=3)
    parts = [slice(start, start + batch) for start in range(0, len(films), batch)]
    found = np.concatenate(
        [perturb(attacker, name, films[part], labels[part], 0.004, steps=3, noise=noise[part]) for part in parts]
    )
    assert np.abs(found - together).max() < 1e-6


@pytest.mark.parametrize("name", ["fgsm", "fgnm", "bim", "binm"])
def test_a_strength_a_film_equals_films_attacked_one_by_one(curved, name):
    attacker, _, films, labels = curved
    strengths = np.linspace(0, 0.02, 5)
    found = perturb(attacker, name, films[:5], labels[:5], strengths, steps=3)
    for i, strength in enumerate(strengths):
        alone = perturb(attacker, name, films[i : i + 1], labels[i : i + 1], strength, steps=3)
        assert np.abs(found[i] - alone[0]).max() < 1e-6


@pytest.fixture(scope="module", params=[((7, 5, 3), 1), ((4, 9, 1), 6), ((6, 6, 3), 13)], ids=str)
def boundary(request):
    """Two classes on either side of the plane `w x + c = 0`, films near it, and the plane's w and the margins."""
    shape, films = request.param
    rng = np.random.default_rng(9)
    w = rng.normal(size=int(np.prod(shape)))
    films = rng.uniform(0.4, 0.6, (films, *shape)).astype(np.float32)
    c = -np.median(films.reshape(len(films), -1) @ w) + 0.02
    # The third class is out of reach.
    model = LinearSoftmax(shape, kernel=np.stack([w, -w, 0 * w], 1), bias=np.array([c, -c, -1e3]))
    logits = model.logits(films)
    return Attacker(model.logits_model()), model, films, logits.argmax(-1), np.abs(logits[:, 0] - logits[:, 1]) / 2


def flipped(boundary, name, strengths, **options):
    """Return which films change class."""
    attacker, model, films, classes, _ = boundary
    found = perturb(attacker, name, films, np.eye(3, dtype=np.float32)[classes], strengths, **options)
    return model.logits(found).argmax(-1) != classes


@pytest.mark.parametrize("name", ["fgsm", "fgnm", "bim", "binm"])
def test_a_linear_models_films_flip_just_beyond_the_boundary(boundary, name):
    w, margin = boundary[1].kernel[:, 0], boundary[-1]
    # The nearest point of the plane: margin / ||w||1 away in L-inf, margin / ||w||2 in L2.
    reach = {"sign": np.abs(w).sum(), "no-sign": np.linalg.norm(w) * np.sqrt(w.size)}[ATTACKS[name].direction]
    strengths = margin / reach / (10 if ATTACKS[name].iterative else 1)
    assert flipped(boundary, name, 1.25 * strengths).all()
    assert not flipped(boundary, name, 0.8 * strengths).any()


@EVERY_ATTACK
def test_no_attack_reaches_a_boundary_outside_its_budget(boundary, name):
    distance = boundary[-1] / np.abs(boundary[1].kernel[:, 0]).sum()
    assert not flipped(boundary, name, 0.8 * distance, protocol="budget").any()
    if name in ("fgsm", "bim"):
        assert flipped(boundary, name, 1.25 * distance, protocol="budget").all()


@EVERY_PROTOCOL
@pytest.mark.parametrize(
    "iterative, single", [("bim", "fgsm"), ("binm", "fgnm"), ("bim-unclipped", "fgsm"), ("binm-unclipped", "fgnm")]
)
def test_one_step_of_an_iterative_attack_is_the_single_step_attack(curved, iterative, single, protocol):
    attacker, _, films, labels = curved
    np.testing.assert_array_equal(
        perturb(attacker, iterative, films, labels, 0.004, steps=1, protocol=protocol),
        perturb(attacker, single, films, labels, 0.004, protocol=protocol),
    )


@pytest.mark.parametrize("name, direction", [("bim", sign_direction), ("binm", no_sign_direction)])
@pytest.mark.parametrize("unclipped", [False, True])
def test_an_unclipped_attack_carries_on_what_projection_and_clipping_take_away(curved, name, direction, unclipped):
    attacker, _, films, labels = curved
    radius, steps, step_factor = 0.3, 5, 4
    expected = onward = films
    for _ in range(steps):
        gradient = to_numpy(attacker.gradient_at(np.float32(expected), labels))
        onward = onward + step_factor * radius / steps * to_numpy(direction(gradient))
        expected = np.clip(np.clip(onward, films - radius, films + radius), 0, 1)
        onward = onward if unclipped else expected
    options = {"protocol": "budget", "steps": steps, "step_factor": step_factor}
    found, other = (perturb(attacker, name + ending, films, labels, radius, **options) for ending in ("", "-unclipped"))
    np.testing.assert_allclose(other if unclipped else found, expected, atol=1e-4)
    assert np.abs(found - other).max() > 0.1


def test_single_step_attacks_do_not_depend_on_the_number_of_steps(curved):
    attacker, _, films, labels = curved
    for protocol in PROTOCOLS:
        np.testing.assert_array_equal(
            perturb(attacker, "fgsm", films, labels, 0.004, steps=10, protocol=protocol),
            perturb(attacker, "fgsm", films, labels, 0.004, steps=1, protocol=protocol),
        )


@EVERY_PROTOCOL
def test_pgd_and_pgdnm_start_at_the_same_random_point_around_the_film(protocol):
    flat = Attacker(LinearSoftmax(SHAPE, kernel=np.zeros((105, 3)), bias=np.zeros(3)).logits_model())
    films = np.random.default_rng(10).random((4, *SHAPE), dtype=np.float32)
    labels, noise = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], unit_noise(1, range(4), SHAPE)
    expected = np.clip(films + np.float32(0.05) * noise, 0, 1)
    for name in ("pgd", "pgdnm"):
        found = perturb(flat, name, films, labels, 0.05, protocol=protocol, noise=noise)
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_random_starts_depend_on_the_seed_and_the_film_alone():
    noise = unit_noise(3, [4, 9, 2], (16, 16, 3))
    assert noise.shape == (3, 16, 16, 3) and noise.dtype == np.float32
    np.testing.assert_array_equal(unit_noise(3, [2, 4], (16, 16, 3)), noise[[2, 0]])
    assert not np.array_equal(unit_noise(4, [4], (16, 16, 3)), noise[:1])
    np.testing.assert_array_equal(unit_noise(3, [4, 9, 2], (16, 16, 3), 0), noise)
    draws = np.concatenate([unit_noise(3, [4, 9, 2], (16, 16, 3), start) for start in range(3)]).reshape(9, -1)
    assert np.abs(np.corrcoef(draws) - np.eye(9)).max() < 0.2
    # Uniform in [-1, 1): mean 0, variance 1/3.
    assert noise.min() >= -1 and noise.max() < 1
    assert abs(noise.mean()) < 0.06 and abs(noise.var() - 1 / 3) < 0.03


@pytest.mark.parametrize("name", ["fgsm", "fgnm", "bim", "binm"])
def test_a_shared_first_gradient_changes_nothing(curved, name):
    attacker, _, films, labels = curved
    shared = to_numpy(attacker.gradient(films, labels)[0])
    np.testing.assert_array_equal(
        perturb(attacker, name, films, labels, 0.004, steps=3, first_gradient=shared),
        perturb(attacker, name, films, labels, 0.004, steps=3),
    )


@pytest.mark.parametrize("name", ["pgd", "pgdnm"])
def test_a_random_start_does_not_use_the_gradient_at_the_film(curved, name):
    attacker, _, films, labels = curved
    wrong = np.zeros_like(films)
    np.testing.assert_array_equal(
        perturb(attacker, name, films, labels, 0.004, steps=1, first_gradient=wrong),
        perturb(attacker, name, films, labels, 0.004, steps=1),
    )


def losses(model, films, labels):
    """Return the cross-entropy of each film, float64 [n]."""
    logits = to_numpy(model(films)).astype(np.float64)
    return np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1) - (logits * labels).sum(-1)


@pytest.mark.parametrize("iterative, single", [("bim", "fgsm"), ("pgd", "fgsm"), ("binm", "fgnm")])
@pytest.mark.parametrize("strength", [0.005, 0.02, 0.1])
def test_iterative_is_not_weaker_than_single_step_at_equal_total_strength(curved, iterative, single, strength):
    attacker, model, films, labels = curved
    # The paper's protocol takes the strength in each of ten steps.
    repeated = perturb(attacker, iterative, films, labels, strength / 10)
    once = perturb(attacker, single, films, labels, strength)
    assert losses(model, repeated, labels).mean() >= 0.98 * losses(model, once, labels).mean()


@EVERY_ATTACK
def test_white_box_accuracy_falls_with_strength_to_chance_or_below(curved, name):
    attacker, model, films, labels = curved
    right = [
        (to_numpy(model(perturb(attacker, name, films, labels, strength))).argmax(-1) == labels.argmax(-1)).mean()
        for strength in (0, 0.003, 0.01, 0.03, 0.1, 1)
    ]
    assert right[0] == 1 and right[-1] <= 1 / 3
    assert all(later <= earlier + 0.1 for earlier, later in zip(right, right[1:]))


def test_float64_films_and_tensors_are_attacked_like_float32_films(curved):
    attacker, _, films, labels = curved
    expected = perturb(attacker, "bim", films, labels, 0.004, steps=2)
    np.testing.assert_array_equal(perturb(attacker, "bim", films.astype(np.float64), labels, 0.004, steps=2), expected)
    from keras import ops

    found = attacker.perturb(ATTACKS["bim"], ops.convert_to_tensor(films), labels, 0.004, steps=2)
    np.testing.assert_array_equal(to_numpy(found), expected)


GOOD = {"films": np.full((4, *SHAPE), 0.5, np.float32), "labels": np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], "strength": 0.01}
BAD = {
    "grey levels": ({"films": GOOD["films"] * 255}, "[0, 1]"),
    "negative pixel": ({"films": GOOD["films"] - 0.6}, "[0, 1]"),
    "NaN pixel": ({"films": np.where(np.arange(3) > 1, np.nan, GOOD["films"])}, "[0, 1]"),
    "negative strength": ({"strength": -0.01}, "strength"),
    "NaN strength": ({"strength": np.nan}, "strength"),
    "infinite strength": ({"strength": np.inf}, "strength"),
    "strength beyond float32": ({"strength": 1e39}, "strength"),
    "a negative strength among others": ({"strength": np.float32([0.1, 0.1, -0.1, 0.1])}, "strength"),
    "too few strengths": ({"strength": [0.1, 0.2]}, "strength"),
    "no steps": ({"steps": 0}, "steps"),
    "half a step": ({"steps": 1.5}, "steps"),
    "fewer labels": ({"labels": GOOD["labels"][:3]}, "4 films but 3 labels"),
    "labels not one-hot": ({"labels": np.array([0, 1, 2, 0])}, "one-hot labels"),
    "labels of other classes": ({"labels": np.eye(4, dtype=np.float32)}, "one-hot labels"),
    "other film size": ({"films": np.full((4, 8, 8, 3), 0.5, np.float32)}, "(n, 7, 5, 3)"),
    "a film without batch": ({"films": GOOD["films"][0]}, "(n, 7, 5, 3)"),
    "unknown protocol": ({"protocol": "best"}, "paper, budget"),
    "a step factor of nothing": ({"protocol": "budget", "step_factor": 0}, "step factor: expected a finite number above 0"),
    "a step factor without a ball": ({"step_factor": 2}, "step factor: 2 is that of protocol 'budget'"),
    "no noise": ({"noise": None}, "noise"),
    "noise of other films": ({"noise": np.zeros((3, *SHAPE), np.float32)}, "noise"),
}


@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD)
def test_what_makes_no_sense_is_refused_with_one_line(attacker, change, message):
    given = {**GOOD, "noise": np.zeros((4, *SHAPE), np.float32), **change}
    with pytest.raises(UserError) as caught:
        attacker.perturb(ATTACKS["pgd"], **given)
    assert message in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_model_that_does_not_tell_its_shapes_can_be_attacked():
    import keras

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, films, training=None):
            return self.dense(keras.ops.reshape(films, (-1, 105)))

    found = perturb(Attacker(Subclassed()), "fgsm", GOOD["films"], GOOD["labels"], 0.01)
    np.testing.assert_allclose(np.abs(found - GOOD["films"]), 0.01, atol=1e-6)


@EVERY_ATTACK
@EVERY_PROTOCOL
def test_a_grey_attack_leaves_grey_films_grey_and_equals_the_slow_reference(linear, name, protocol):
    model, films, labels = linear
    films = films[..., :1].repeat(3, axis=-1)
    found = perturb(Attacker(model.logits_model()), name, films, labels, 0.02, protocol=protocol, steps=3, grey=True)
    assert np.ptp(found, axis=-1).max() < 1e-7 < np.abs(found - films).max()
    noise = unit_noise(0, range(len(films)), SHAPE)
    expected = [
        reference_attack(model, name, film, label.argmax(), 0.02, protocol=protocol, steps=3, noise=start, grey=True)
        for film, label, start in zip(films, labels, noise)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["fgsm", "fgnm"])
@pytest.mark.parametrize(
    "protocol, norm, step_factor",
    [("paper", "linf", 1), *(("budget", norm, factor) for norm in NORMS for factor in (0.5, 1, 3))],
)
@pytest.mark.parametrize("grey", [False, True])
def test_a_single_step_attack_is_its_strength_times_its_unit_step(linear, attacker, name, protocol, norm, step_factor, grey):
    _, films, labels = linear
    geometry = {"protocol": protocol, "norm": norm, "grey": grey, "step_factor": step_factor}
    unit = to_numpy(attacker.unit_step(ATTACKS[name], attacker.gradient_at(films, labels), **geometry))
    for strength in (0.001, 0.01):
        found = perturb(attacker, name, films, labels, strength, **geometry)
        np.testing.assert_allclose(found - films, np.float32(strength) * unit, atol=2e-7)


@settings(deadline=None)
@given(scale=st.sampled_from([1e-30, 1e-10, 1.0, 1e10, 1e30]), seed=st.integers(0, 99))
def test_a_steps_effect_is_exact_for_gradients_of_any_scale(scale, seed):
    rng = np.random.default_rng(seed)
    before = rng.uniform(0.2, 0.8, (3, 4, 5, 3)).astype(np.float32)
    after = before + rng.uniform(-0.1, 0.1, before.shape).astype(np.float32)
    gradient = (scale * rng.normal(size=before.shape)).astype(np.float32)
    cosine, predicted = map(to_numpy, step_effect(before, after, gradient))
    step, exact = (after - before).astype(np.float64), gradient.astype(np.float64)
    product = (step * exact).sum((1, 2, 3))
    np.testing.assert_allclose(cosine, product / norms(step) / norms(exact), atol=1e-5)
    np.testing.assert_allclose(predicted, product, rtol=1e-3, atol=1e-5 * scale)


def test_a_step_of_nothing_or_without_gradient_has_no_cosine_and_no_gain():
    films, gradient = np.full((3, 2, 2, 3), 0.5, np.float32), np.ones((3, 2, 2, 3), np.float32)
    gradient[1], gradient[2, 0, 0, 0] = 0, np.nan
    moved = films.copy()
    moved[1:] += np.float32(0.1)
    cosine, predicted = map(to_numpy, step_effect(films, moved, gradient))
    assert np.isnan(cosine).all() and (predicted == 0).all()


def test_a_norm_without_a_ball_is_refused(linear, attacker):
    _, films, labels = linear
    with pytest.raises(UserError, match="protocol 'paper' has none; choose protocol 'budget'"):
        perturb(attacker, "fgsm", films, labels, 0.01, norm="l2")
