"""The attacks: one row of a table for each, and the condition that they run under. Plain data; imports no Keras."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from nosign.dataset import CLASSES
from nosign.errors import UserError
from nosign.paper import STEPS

# What attacks climb: cross-entropy, exactly; or one of two common mistakes, which lose the gradient of confident films.
LOSSES = ("cross-entropy", "softmax", "probabilities")
KERAS_EPSILON = 1e-7  # to which Keras's cross-entropy on probabilities clips them
SIGNS, GAUSSIAN, SHUFFLED = "random signs", "Gaussian noise", "shuffled gradient"
PROTOCOLS = ("paper", "budget")
LATER = ("step_factor", "steps", "restarts")  # settings of a condition that earlier manifests do not have
NUMBER = r"[0-9]+(?:[.][0-9]+)?(?:e[+-][0-9]+)?"  # as `format(number, "g")` writes it
NORMS = ("linf", "l2")


@dataclass(frozen=True)
class Attack:
    """A named attack: one row of the table below.

    Attributes:
        name: as on the command line and in paths.
        title: as in tables and figures.
        direction: "sign", "no-sign", or "steepest": that of the ball's norm.
        iterative: many steps rather than one.
        random_start: starts from a uniform random point around the film.
        momentum: share of the earlier gradients that a step keeps.
        adaptive: halves its steps by what they gain, within the ball of protocol "budget"; see `nosign.attacks.apgd`.
        unclipped: each step goes on from where the last one led before it was projected and clipped.
        control: what it follows in place of the gradient, one of those in `nosign.attacks.controls`; empty for an attack.
        universal: follows one field for all films, fitted on others; see `nosign.attacks.universal`.
    """

    name: str
    title: str
    direction: str
    iterative: bool = False
    random_start: bool = False
    momentum: float = 0.0
    unclipped: bool = False
    adaptive: bool = False
    control: str = ""
    universal: bool = False

    @property
    def needs_gradient(self) -> bool:
        """Whether it takes the source model's gradient at the film."""
        return self.control in ("", SHUFFLED) and not self.universal

    @property
    def follows_field(self) -> bool:
        """Whether it is one step along a field that is given, not along the gradient at the film."""
        return bool(self.control) or self.universal

    def starts(self, restarts: int) -> int:
        """How many times it is run where attacks with a random start are run `restarts` times."""
        return restarts if self.random_start else 1


ATTACKS = {
    attack.name: attack
    for attack in (
        Attack("fgsm", "FGSM", "sign"),
        Attack("fgnm", "FGNM", "no-sign"),
        Attack("bim", "BIM", "sign", iterative=True),
        Attack("binm", "BINM", "no-sign", iterative=True),
        Attack("pgd", "PGD", "sign", iterative=True, random_start=True),
        Attack("pgdnm", "PGDNM", "no-sign", iterative=True, random_start=True),
        # Dong et al., 2018, arXiv:1710.06081, who find a momentum of 1 best; and its no-sign twin.
        Attack("mifgsm", "MI-FGSM", "sign", iterative=True, momentum=1.0),
        Attack("mifgnm", "MI-FGNM", "no-sign", iterative=True, momentum=1.0),
        # After Yang et al., 2023, arXiv:2312.01260, who step along the gradient at its own length.
        Attack("bim-unclipped", "BIM unclipped", "sign", iterative=True, unclipped=True),
        Attack("binm-unclipped", "BINM unclipped", "no-sign", iterative=True, unclipped=True),
        # Croce and Hein, 2020, arXiv:2003.01690: what a strong attack leaves within the ball; it has no twin.
        Attack("apgd", "APGD", "steepest", iterative=True, random_start=True, adaptive=True),
        Attack("universal-sign", "Universal sign", "sign", universal=True),
        Attack("universal", "Universal no-sign", "no-sign", universal=True),
        # Of FGSM's size, of FGNM's, and FGNM's own step in another place (Bortsova et al., 2021, arXiv:2006.06356).
        Attack("noise-sign", "Random signs", "sign", control=SIGNS),
        Attack("noise", "Gaussian noise", "no-sign", control=GAUSSIAN),
        Attack("shuffled", "Shuffled FGNM", "no-sign", control=SHUFFLED),
    )
}
CONTROLS = tuple(name for name, attack in ATTACKS.items() if attack.control)
UNIVERSAL = tuple(name for name, attack in ATTACKS.items() if attack.universal)
PAIRS = (
    ("fgsm", "fgnm"),
    ("bim", "binm"),
    ("pgd", "pgdnm"),
    ("mifgsm", "mifgnm"),
    ("bim-unclipped", "binm-unclipped"),
    ("universal-sign", "universal"),
)
# By direction: what controls and attacks of many steps are held against.
SINGLE_STEP = {ATTACKS[name].direction: name for name in PAIRS[0]}


def attack_groups(iterative: bool) -> tuple[tuple[str, ...], ...]:
    """Return the names of the attacks that are iterative, or of those that are not, as tables set them side by side.

    They are (sign, no-sign) pairs and, each on its own, attacks without a twin; controls are not among them.
    """
    paired = {name for pair in PAIRS for name in pair}
    alone = tuple((name,) for name, attack in ATTACKS.items() if name not in paired and not attack.control)
    return tuple(group for group in (*PAIRS, *alone) if ATTACKS[group[0]].iterative == iterative)


@dataclass(frozen=True)
class Condition:
    """What, beside the source model, all cells of a sweep have in common; a folder is named after it.

    Attributes:
        protocol: one of `PROTOCOLS`.
        norm: of the ball, one of `NORMS`.
        target: class that the attacks aim at; None if any wrong class will do.
        grey: whether the perturbation is the same in all channels.
        loss: one of `nosign.attacks.catalogue.LOSSES`.
        step_factor: of protocol "budget", how many times strength / T a step is; 1 is the paper's equation 3.
        steps: T of protocol "budget" where it is not the paper's; None where it is, and in protocol "paper", whose T is a
            setting that its name does not tell.
        restarts: how many random starts attacks with one have; the best is kept, film by film.
    """

    protocol: str = "paper"
    norm: str = "linf"
    target: str | None = None
    grey: bool = False
    loss: str = LOSSES[0]
    step_factor: float = 1.0
    steps: int | None = None
    restarts: int = 1

    def __str__(self) -> str:
        """Return the folder's name, such as "paper", "paper-grey", "budget-factor-2-steps-50" or "budget-l2-to-Normal"."""
        words = [
            self.protocol,
            *["l2"] * (self.norm == "l2"),
            *["factor", f"{self.step_factor:g}"] * (self.step_factor != 1),
            *["steps", str(self.steps)] * (self.steps is not None),
            *["restarts", str(self.restarts)] * (self.restarts != 1),
            *["loss", self.loss] * (self.loss != LOSSES[0]),
            *["grey"] * self.grey,
        ]
        return "-".join(words + (["to", self.target] if self.target else []))

    @classmethod
    def parse(cls, name: str) -> Condition | None:
        """Return the condition that a folder's name states, or None if it states none."""
        found = re.fullmatch(
            rf"(?P<protocol>{'|'.join(PROTOCOLS)})(?:-(?P<norm>l2))?(?:-factor-(?P<step_factor>{NUMBER}))?"
            rf"(?:-steps-(?P<steps>[1-9][0-9]*))?(?:-restarts-(?P<restarts>[1-9][0-9]*))?"
            rf"(?:-loss-(?P<loss>{'|'.join(LOSSES[1:])}))?(?P<grey>-grey)?"
            rf"(?:-to-(?P<target>{'|'.join(map(re.escape, CLASSES))}))?",
            name,
        )
        if not found:
            return None
        stated = {field: text for field, text in found.groupdict().items() if text is not None}
        read = {"grey": bool, "step_factor": float, "steps": int, "restarts": int}
        condition = cls(**{field: read.get(field, str)(text) for field, text in stated.items()})
        return condition if str(condition) == name and condition.steps != STEPS else None

    @property
    def settings(self) -> dict[str, Any]:
        """What a sweep's manifest says of it, JSON-ready.

        A default that earlier manifests do not have is left out, so that their sweeps can be gone on with.
        """
        return {name: value for name, value in asdict(self).items() if name not in LATER or value != getattr(Condition, name)}


def check_ball(condition: Condition, attacks: Iterable[Attack] = ()) -> None:
    """Refuse what needs the ball of protocol "budget", of a condition and some attacks, where there is none."""
    if condition.protocol != "paper":
        return
    if condition.norm != NORMS[0]:
        raise UserError(
            f"norm: {condition.norm!r} is that of the ball which protocol 'budget' keeps to, and protocol 'paper' "
            "has none; choose protocol 'budget', or leave the norm out"
        )
    if condition.step_factor != 1:
        raise UserError(
            f"step factor: {condition.step_factor:g} is that of protocol 'budget', which shares the strength out over the "
            "steps; in protocol 'paper' each step has the strength; choose protocol 'budget', or leave the factor out"
        )
    for attack in attacks:
        if attack.adaptive:
            raise UserError(
                f"{attack.name}: {attack.title} fits its steps to the ball of protocol 'budget', and protocol 'paper' has "
                f"none; choose protocol 'budget', or leave {attack.name} out"
            )
