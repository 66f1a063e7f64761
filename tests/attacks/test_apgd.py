"""APGD: its checkpoints, its halvings and its best point by hand; a linear model's nearest corner; a network."""

import numpy as np
import pytest
from tiny import LinearSoftmax, curved_model

from nosign.attacks.apgd import Halving, Point, ascend, checkpoints
from nosign.attacks.catalogue import ATTACKS, NORMS
from nosign.attacks.loop import Attacker, unit_noise
from nosign.attacks.restarts import standing
from nosign.backend import to_numpy
from nosign.errors import UserError

SHAPE = (7, 5, 3)


def apgd(attacker, films, labels, strength, **options):
    """Attack films whose rows are 0, 1, ... with seed 0 in a ball, and return NumPy."""
    options = {"noise": unit_noise(0, range(len(films)), films.shape[1:]), "protocol": "budget"} | options
    return to_numpy(attacker.perturb(ATTACKS["apgd"], films, labels, strength, **options))


def test_checkpoints_are_the_papers():
    # p = 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99: each interval is 0.03 shorter than the last one, at least 0.06.
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(10) == [3, 5, 6, 7, 8, 9, 10]
    assert checkpoints(1) == [1]


def test_steps_are_halved_where_they_climb_too_seldom_or_get_no_farther():
    # Film 0 climbs in each step; film 1 in one of three; film 2 in each, but below where it started.
    halving = Halving(10, np.float32([0, 0, 9]))
    climbed = np.float32([[0, 0, 0], [1, 1, 1], [2, 0, 2], [3, 0, 3]])
    highest = np.float32([[1, 1, 9], [2, 1, 9], [3, 1, 9]])
    halved = [halving.after(n, climbed[n - 1], climbed[n], highest[n - 1]).tolist() for n in (1, 2, 3)]
    assert halved == [[False] * 3, [False] * 3, [False, True, True]] and halving.factor.tolist() == [1, 0.5, 0.5]
    # By the next checkpoint all climb in both steps; film 0 gets no farther; film 2 has just been halved and may go on.
    same = np.float32([3, 1, 9])
    halving.after(4, climbed[1], climbed[1] + 1, same)
    assert halving.after(5, climbed[1], climbed[1] + 1, same).tolist() == [True, False, False]
    assert halving.factor.tolist() == [0.5, 0.5, 0.5]


def parabola(films):
    """Return the point of films [n, 1] on -(x - 0.3)^2."""
    films = np.asarray(films, np.float64)
    return Point(films, -2 * (films - 0.3), films, np.zeros(len(films), bool), -((films[:, 0] - 0.3) ** 2))


def push(point, before, factor, share):
    """Take a step in the ball of radius 1 around 0 as the paper says: along the sign, then with momentum."""
    landed = np.clip(point.films + factor[:, None] * np.sign(point.followed), -1, 1)
    return np.clip(point.films + share * (landed - point.films) + (1 - share) * (point.films - before), -1, 1)


def test_a_parabola_is_climbed_step_by_step_as_by_hand():
    path = []

    def watch(before, after, gradient, logits):
        path.append((np.asarray(before).item(), np.asarray(after).item()))

    best = ascend(parabola, push, np.zeros((1, 1)), 10, watch)
    # To the edge without momentum; back and forth with it; two of three steps climb, which is less than three quarters: on with
    # half the step from the best point, which is the last one; then one of two climbs: a quarter, and back to the best point.
    by_hand = [(0, 1), (1, -0.25), (-0.25, 0.375), (0.375, -0.21875), (-0.21875, 0.3828125), (0.375, 0.1484375)]
    np.testing.assert_allclose(path[:6], by_hand, atol=1e-12)
    ends = np.array([0, *(after for _, after in path)])
    assert np.asarray(best.films).item() == pytest.approx(ends[np.abs(ends - 0.3).argmin()])


@pytest.fixture(scope="module")
def linear():
    """A linear model of two classes in reach, mid-grey films, the plane's normal w, and labels that are right."""
    rng = np.random.default_rng(3)
    w, films = rng.normal(size=105), rng.uniform(0.4, 0.6, (5, *SHAPE)).astype(np.float32)
    model = LinearSoftmax(SHAPE, kernel=np.stack([w, -w, 0 * w], 1), bias=np.array([0, 0, -1e3]))
    return Attacker(model.logits_model()), films, w.reshape(SHAPE), model.logits(films).argmax(-1)


@pytest.mark.parametrize("targeted", [False, True])
def test_on_a_linear_model_it_ends_where_the_ball_reaches_farthest(linear, targeted):
    attacker, films, w, classes = linear
    away = np.where(classes == 0, -1, 1).reshape(-1, 1, 1, 1) * w
    labels = np.eye(3, dtype=np.float32)[1 - classes if targeted else classes]
    found = apgd(attacker, films, labels, 0.02, targeted=targeted, steps=10)
    np.testing.assert_allclose(found - films, 0.02 * np.sign(away), atol=1e-6)
    found = apgd(attacker, films, labels, 0.02, norm="l2", targeted=targeted, steps=50)
    # The loss at the nearest point of the ball is reached to a thousandth.
    gained = ((found - films) * away).sum((1, 2, 3)) / np.linalg.norm(w)
    assert (gained > 0.999 * 0.02 * np.sqrt(105)).all()


@pytest.fixture(scope="module")
def curved():
    """An `Attacker`, and what `curved_model` returns."""
    model, films, labels = curved_model()
    return Attacker(model), model, films, labels


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("strength", [0.01, 0.1])
@pytest.mark.parametrize("targeted", [False, True])
def test_it_never_ends_lower_than_it_starts_and_stays_in_the_ball(curved, norm, strength, targeted):
    attacker, model, films, labels = curved
    labels = np.roll(labels, 1, axis=1) if targeted else labels
    noise = unit_noise(0, range(len(films)), films.shape[1:])
    start = np.clip(films + np.float32(strength) * noise, 0, 1)
    found = apgd(attacker, films, labels, strength, norm=norm, targeted=targeted)
    before, after = (standing(model(points), labels, targeted) for points in (start, found))
    assert (after[0] >= before[0]).all() and ((after[1] >= before[1]) | (after[0] & ~before[0])).all()
    change = found - films
    reach = np.abs(change).max() if norm == "linf" else np.sqrt((change**2).mean((1, 2, 3))).max()
    assert strength / 2 < reach <= strength + 1e-6 and found.min() >= 0 and found.max() <= 1


def test_it_climbs_farther_than_pgd_from_the_same_start(curved):
    attacker, model, films, labels = curved
    noise = unit_noise(0, range(len(films)), films.shape[1:])
    options = {"protocol": "budget", "noise": noise, "steps": 20, "step_factor": 4}
    other = to_numpy(attacker.perturb(ATTACKS["pgd"], films, labels, 0.05, **options))
    ends = [standing(model(points), labels)[1] for points in (other, apgd(attacker, films, labels, 0.05, steps=20))]
    assert (ends[1] > ends[0]).mean() > 0.7 and ends[1].mean() > ends[0].mean()


def test_a_film_alone_gives_the_same_result_as_in_a_batch(curved):
    attacker, _, films, labels = curved
    noise = unit_noise(0, range(len(films)), films.shape[1:])
    together = apgd(attacker, films, labels, 0.02)
    alone = [apgd(attacker, *(array[[i]] for array in (films, labels)), 0.02, noise=noise[[i]])[0] for i in range(len(films))]
    assert (np.abs(np.stack(alone) - together).max((1, 2, 3)) < 1e-6).mean() > 0.9


def test_of_a_film_that_is_turned_on_the_way_the_answer_is_turned():
    # The first step turns the film; the second climbs higher and turns it back.
    points = [Point(*[np.float32([[n]])] * 3, np.array([n == 1]), np.float32([n])) for n in (0, 1, 2)]
    path = iter(points)
    best = ascend(lambda _: next(path), lambda *_: None, points[0].films, 2)
    assert np.asarray(best.films).item() == 1


def test_without_a_ball_it_is_refused_with_one_line(linear):
    attacker, films, _, classes = linear
    with pytest.raises(UserError, match="protocol 'paper' has none; choose protocol 'budget', or leave apgd out"):
        apgd(attacker, films, np.eye(3, dtype=np.float32)[classes], 0.02, protocol="paper")
