"""What reaches the head of a derivation tree before it is trained: how much of the images, and how well mixed (ours).

Both are known from the tree alone. They are what ranks trained trees best (docs/log.md): most trees that stay at chance
hand their head next to the same numbers for every image, which a few steps of training do not mend.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from nas_agent.spaces.einspace_grammar import WIDTH
from nas_agent.spaces.einspace_shapes import SIDE, START, Image, Shape, after, arm_shape, features_of, places_of, shapes
from nas_agent.spaces.einspace_tree import (
    ADD,
    CONCAT,
    IMAGE,
    LINEAR,
    PAIRED,
    PATCHES,
    PRODUCT,
    TRANSPOSE,
    Branch,
    Module,
    Step,
)
from nas_agent.spaces.features import Floats

SIGNAL = (
    "log10 of the images' share of the power at the end",
    "log10 of their share of the mean over places, which the head is given",
    "log10 of the power at the end",
    "log10 of the least share on the way",
)
MIXING = (
    "log2 of one more than how often places are mixed and then acted on by a non-linear step",
    "places are mixed after the last non-linear step",
    "log2 of one more than how far mixing reaches, in pixels",
    "the head is given the mean over features, not over places",
)
_NORM_EPSILON = 1e-5
_POSITION = 0.02**2  # variance of a new table of positions
_RECTIFIED = 1.0 / (2.0 * math.pi)  # square of the mean of a rectified standard normal number
_SEEN = 0.028  # of what varies behind a non-linearity: variance of the mean over 64 places; measured on the digits
_TINY = 1e-30


class Moments(NamedTuple):
    """Second moments of the numbers between two steps, over images and over random weights."""

    images: float  # variance over images of one number
    over_places: float  # variance over images of the mean over places
    over_features: float  # variance over images of the mean over features
    features: float  # power of what is the same for all images and all places, as a bias
    places: float  # power of what is the same for all images and differs by place, as the mean image

    @property
    def power(self) -> float:
        """Mean square of one number."""
        return self.images + self.features + self.places

    @property
    def share(self) -> float:
        """The part of the power that depends on the image."""
        return self.images / (self.power + _TINY)

    def turned(self) -> Moments:
        """After places and features were exchanged."""
        return Moments(self.images, self.over_features, self.over_places, self.places, self.features)

    def times(self, factor: float) -> Moments:
        """With all moments multiplied."""
        return Moments(*(factor * moment for moment in self))


STEM = Moments(0.6, 0.012, 0.035, 0.0, 0.4)  # behind the stem, as measured on the digits


def signal(module: Module) -> Floats:
    """Follow the moments from the stem to the head: a mean-field estimate, the numbers of SIGNAL.

    Poole et al. (2016) and Schoenholz et al. (2017) have it for layers in a row. Here numbers are taken as independent,
    in branches too, and weights as PyTorch draws them.
    """
    moments, least = STEM, STEM.share
    for step, shape in zip(module, shapes(module, START), strict=False):
        moments = _moments_after(step, shape, moments)
        least = min(least, moments.share)
    end = places_of(shapes(module, START)[-1]).at(WIDTH)
    constant = moments.features + moments.places / end
    pooled = moments.over_places / (moments.over_places + constant + _TINY)
    return np.log10(np.array([moments.share, pooled, moments.power, least]) + 1e-12)


def _moments_after(step: Step, shape: Shape, moments: Moments) -> Moments:
    entering = features_of(shape).at(WIDTH)
    if isinstance(step, Branch):
        return _merged(step, shape, moments)
    if step in LINEAR:  # weights and biases are uniform, of variance one third of the inverse of what enters
        leaving = features_of(after(step, shape)).at(WIDTH)
        less = moments.times(1.0 / 3.0)
        return less._replace(over_features=less.images / leaving, features=less.features + 1.0 / (3.0 * entering))
    if step in PATCHES:
        # Phases of a stride see other pixels, and so the means over places differ more.
        fewer = places_of(shape).at(WIDTH) / places_of(after(step, shape)).at(WIDTH)
        wider = PATCHES[step][0] ** 2
        return moments._replace(
            over_places=moments.over_places * fewer**0.7, over_features=moments.over_features / wider
        )
    match step:
        case "norm" if isinstance(shape, Image):  # over images: what is the same for all places goes
            spread = moments.images + moments.places + _NORM_EPSILON
            return moments._replace(features=0.0).times(1.0 / spread)
        case "norm":
            return moments._replace(over_features=0.0).times(1.0 / (moments.power + _NORM_EPSILON))
        case "relu" | "gelu":
            return _rectified(moments, 1.0 if step == "relu" else moments.power / (1.0 + moments.power))
        case "softmax":
            return _normalised(moments, entering)
        case "position":
            return moments._replace(places=moments.places + _POSITION)
        case step if step == TRANSPOSE:
            return moments.turned()
    return moments


def _rectified(moments: Moments, hard: float) -> Moments:
    """Cut off the negative half; `hard`: how far large numbers rule, for small ones a gelu is a half of its input."""
    kept = 0.5 * hard + 0.25 * (1.0 - hard)
    constant = _RECTIFIED * moments.share * moments.images * hard
    images = moments.images * kept - constant
    seen = _SEEN * moments.share * images * hard
    return Moments(
        images,
        moments.over_places * kept + seen,
        moments.over_features * kept + seen,
        moments.features * kept + constant,
        moments.places * kept,
    )


def _normalised(moments: Moments, entering: int) -> Moments:
    """Take a softmax: to first order one part of the whole, and the input divided by how many parts there are."""
    part, strong = 1.0 / entering**2, moments.images / (1.0 + moments.images)
    images = strong * part * (1.0 + min(moments.power, entering))
    seen = 0.05 * moments.share * strong * images
    over_places = moments.over_places / (1.0 + moments.over_places) * part + seen
    features = part * (1.0 + moments.features / (1.0 + moments.power))
    return Moments(images, over_places, 0.0, features, part * moments.places / (1.0 + moments.power))


def _merged(branch: Branch, shape: Shape, moments: Moments) -> Moments:
    entry = arm_shape(branch, shape)
    arms = []
    for arm in branch.arms:
        inside = moments
        for step, before in zip(arm, shapes(arm, entry), strict=False):
            inside = _moments_after(step, before, inside)
        arms.append(inside)
    if branch.merge in (ADD, CONCAT):
        total = Moments(*(sum(column) for column in zip(*arms, strict=True)))
        return total.times(branch.copies if branch.merge == ADD else 1.0 / len(arms))
    first, second = arms
    terms = 1.0  # similarities are divided by the root of how many terms they sum
    if branch.merge == PRODUCT:
        terms = float(features_of(shapes(branch.arms[0], entry)[-1]).at(WIDTH))
    else:
        second = second.turned()
    constant, other = first.power - first.images, second.power - second.images
    return Moments(
        first.images * second.power + constant * second.images,
        first.over_places * second.power + first.features * second.images,
        second.over_features * first.power + second.places * first.images,
        first.features * other,
        first.places * other,
    ).times(terms)


class Mixed(NamedTuple):
    """The best on a path so far; compared from left to right."""

    alternations: int = 0  # places mixed, then a non-linear step
    mixed: bool = True  # since the last non-linear step; the stem mixes
    reach: int = 0  # pixels
    turned: bool = False  # features lie where places were


def mixing(module: Module) -> Floats:
    """Follow how places are mixed: the numbers of MIXING.

    The head averages over places, so without mixing it is told what parts an image has, and not where.
    """
    found = _mixed(module, START, Mixed())
    numbers = math.log2(1 + found.alternations), found.mixed, math.log2(1 + found.reach), found.turned
    return np.array(numbers, dtype=np.float64)


def _mixed(module: Module, shape: Shape, path: Mixed) -> Mixed:
    for step, before in zip(module, shapes(module, shape), strict=False):
        path = _mixed_by_branch(step, before, path) if isinstance(step, Branch) else _mixed_by(step, before, path)
    return path


def _mixed_by(step: str, shape: Shape, path: Mixed) -> Mixed:
    if step == TRANSPOSE:
        return path._replace(turned=not path.turned)
    if step == IMAGE:
        return path._replace(turned=False)
    if step in PATCHES and PATCHES[step][0] > 1:
        return path._replace(mixed=True, reach=path.reach + PATCHES[step][0] - 1)
    if step in LINEAR and path.turned:
        return path._replace(mixed=True, reach=path.reach + SIDE)
    # The norm of an image is linear but for its statistics, that of a token is not.
    if step in ("relu", "gelu", "softmax") or (step == "norm" and not isinstance(shape, Image)):
        return path._replace(alternations=path.alternations + path.mixed, mixed=False)
    return path


def _mixed_by_branch(branch: Branch, shape: Shape, path: Mixed) -> Mixed:
    entry = arm_shape(branch, shape)
    arms = [_mixed(arm, entry, path) for arm in branch.arms]
    best = max(arms)
    if branch.merge in PAIRED:  # a product of two functions of the image, summed over places or features
        return Mixed(best.alternations + 1, True, best.reach + SIDE, arms[0].turned)
    return best
