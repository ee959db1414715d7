"""Deal groups of patches to train, val and test: every class in every part, and sizes near those asked for.

Half of the groups are dealt at random, the others each to where it fits best; then they are moved and swapped as long
as that helps, or until the sizes are close enough: what is close enough stays as it was drawn, so that every group can
come into every part where its size allows it. Of some such starts a seed keeps the first that is nearly as close as the
best. Where no start has every class in every part, integer programming finds a way to, or proves that there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

STARTS = 8
"""Random starts of a seed."""
CLOSE = 0.05
"""Sizes are close enough when they are off by 5 %, such as 21 % of a class in place of 20 %."""
NEARLY = 1.25
"""A start counts as nearly as close as the best up to this factor."""
SWAPPED = 60
"""Groups of a part that are tried in swaps: those that cost least to move."""
NODES = 20_000
"""How long the search for a way to have all classes in all parts may take, in nodes of its tree."""


class NoSplitError(Exception):
    """No split has these classes in every part.

    Attributes:
        classes: numbers of classes that cannot all be in every part.
        proven: whether that is certain; else the search for a way was given up.
    """

    def __init__(self, classes: list[int], *, proven: bool) -> None:
        super().__init__(classes, proven)
        self.classes = classes
        self.proven = proven


def group_numbers(column: pd.Series) -> Ints | None:
    """A number per patch, equal within a group, from a store's column `group`: int64 [N].

    A patch without a group is one of its own; where no patch has a group, None.
    """
    import pandas as pd

    numbers = pd.factorize(column)[0].astype(np.int64)
    without = numbers < 0
    if without.all():
        return None
    numbers[without] = numbers.max() + 1 + np.arange(np.count_nonzero(without))
    return numbers


@dataclass(frozen=True, eq=False)
class _Groups:
    """What is dealt: G groups of K classes to P parts.

    Attributes:
        counts: patches of each class in each group, sparse [G, K].
        seats: patches of each class that each part should get, none of them 0, [K, P].
        loose: patches of each class that stand alone and fill what the groups leave open, [K].
    """

    counts: csr_array
    seats: Floats
    loose: Ints

    def filled(self, part: Ints) -> Floats:
        """Patches of each class that these groups bring to each part, [K, P]; those in part -1 are in none."""
        from scipy.sparse import coo_array

        dealt = np.flatnonzero(part >= 0)
        ones = coo_array((np.ones(len(dealt)), (dealt, part[dealt])), shape=(len(part), self.seats.shape[1]))
        return np.asarray((self.counts.T @ ones.tocsr()).todense())

    def missing(self, part: Ints) -> list[int]:
        """Classes that are not in every part."""
        return np.flatnonzero((self.loose == 0) & (self.filled(part) == 0).any(axis=1)).tolist()

    def distance(self, filled: Floats) -> float:
        """How far the parts are from their seats, as a share of them: the root of chi-square over patches."""
        loose = np.zeros_like(filled)
        for c in np.flatnonzero(self.loose):
            loose[c] = fill(int(self.loose[c]), filled[c], self.seats[c])
        return float(np.sqrt((np.square(filled + loose - self.seats) / self.seats).sum() / self.seats.sum()))


def deal_groups(labels: Ints, groups: Ints, seats: Ints, rng: np.random.Generator) -> Ints:
    """The part of each patch, such that groups stay together and every class is in every part.

    Args:
        labels: class of each patch, 0 to K - 1, [N].
        groups: group of each patch, 0 to G - 1, [N]; each class is in at least P of them.
        seats: patches of each class that each part should get, none of them 0, [K, P].
        rng: draws the starts.

    Returns:
        0 to P - 1, [N].

    Raises:
        NoSplitError: there is no such split, or none was found.
    """
    from scipy.sparse import coo_array

    K, P = seats.shape
    sizes = np.bincount(groups)
    alone = sizes[groups] == 1
    # A class with as many patches on their own as there are parts is in all parts by them, and needs no group for it.
    loose = alone & (np.bincount(labels[alone], minlength=K) >= P)[labels]
    names, members = np.unique(groups[~loose], return_inverse=True)
    counts = coo_array((np.ones(len(members)), (members, labels[~loose])), shape=(len(names), K)).tocsr()
    dealt = _Groups(counts, seats.astype(np.float64), np.bincount(labels[loose], minlength=K))

    chosen = np.empty(0, dtype=np.int64)
    if len(names):
        splits = [(dealt.distance(dealt.filled(split)), split) for split in _splits(dealt, rng)]
        enough = max(CLOSE, NEARLY * min(distance for distance, _ in splits))
        chosen = next(split for distance, split in splits if distance <= enough)
    part = np.empty(len(labels), dtype=np.int64)
    part[~loose] = chosen[members]
    filled = dealt.filled(chosen)
    for c in np.flatnonzero(dealt.loose):
        rows = rng.permutation(np.flatnonzero(loose & (labels == c)))
        part[rows] = np.repeat(np.arange(P), fill(len(rows), filled[c], dealt.seats[c]))
    return part


def largest_remainder(total: int, weights: Sequence[float] | Floats) -> Ints:
    """Divide `total` into whole shares proportional to `weights` (Hamilton's method; the first of equals gains)."""
    quotas = np.round(total * np.asarray(weights, dtype=np.float64) / np.sum(weights), 9)
    shares = np.floor(quotas).astype(np.int64)
    order = np.argsort(-np.round(quotas - shares, 9), kind="stable")
    shares[order[: total - shares.sum()]] += 1
    return shares


def part_sizes(count: int, fractions: Sequence[float]) -> Ints:
    """Sizes of the parts for a class of at least as many patches: largest remainder, none of them empty."""
    sizes = largest_remainder(count, fractions)
    while (sizes == 0).any():
        sizes[np.argmax(sizes)] -= 1
        sizes[np.argmin(sizes)] += 1
    return sizes


def gives_way(part: Ints, contents: Ints) -> NDArray[np.bool_]:
    """Which patches have the pixels of one in a later part: they are left out, so that none stand on two sides, [N].

    Args:
        part: 0 for train, 1 for val, 2 for test, -1 for none, [N].
        contents: equal for equal pixels, [N].
    """
    last = np.zeros(contents.max() + 1, dtype=np.int64)
    np.maximum.at(last, contents, part)
    return np.asarray((part >= 0) & (part < last[contents]))


def fill(count: int, filled: Floats, seats: Floats) -> Ints:
    """How many of `count` single patches of a class go to each part, [P]: one where none is, then by open seats."""
    first = (filled == 0).astype(np.int64)
    open_seats = np.maximum(seats - filled - first, 0.0)
    rest = count - int(first.sum())
    return np.asarray(first + largest_remainder(rest, open_seats)) if rest else first


def _splits(dealt: _Groups, rng: np.random.Generator) -> Iterator[Ints]:
    """Parts of the groups, with every class in every part, [G] each: from random starts, else from the exact search."""
    G, P = dealt.counts.shape[0], dealt.seats.shape[1]
    found, missing = False, [*range(len(dealt.loose))]
    for _ in range(STARTS):
        drawn = rng.choice(P, size=G, p=dealt.seats.sum(axis=0) / dealt.seats.sum())
        half = np.where(rng.random(G) < 0.5, drawn, -1)
        part = _improved(dealt, _greedy(dealt, half, rng))
        left_out = dealt.missing(part)
        if not left_out:
            found = True
            yield part
            if dealt.distance(dealt.filled(part)) <= CLOSE:
                return
        missing = min(missing, left_out or missing, key=len)
    for _ in range(0 if found else STARTS):
        yield _improved(dealt, _covering(dealt, missing, rng))


def _greedy(dealt: _Groups, part: Ints, rng: np.random.Generator) -> Ints:
    """Deal the groups in part -1 in a random order, each to where the squared distance to the seats grows least."""
    part, off = part.copy(), dealt.filled(part) - dealt.seats
    counts, weight = dealt.counts, 1.0 / dealt.seats
    starts, classes, patches = counts.indptr.tolist(), counts.indices, counts.data[:, None]
    for group in rng.permutation(np.flatnonzero(part < 0)).tolist():
        cells = slice(starts[group], starts[group + 1])
        c, n = classes[cells], patches[cells]
        part[group] = chosen = int((n * (n + 2.0 * off[c]) * weight[c]).sum(axis=0).argmin())
        off[c, chosen] += n[:, 0]
    return part


def _improved(dealt: _Groups, part: Ints) -> Ints:
    """Move a group, or swap two, as long as more classes come into all parts or the sizes are not close enough.

    A part's squared distance is sum over classes of (filled - seats)^2 / seats; a class that a part lacks costs more
    than any distance.
    """
    from scipy.sparse import csr_array

    part = part.copy()
    counts, weight = dealt.counts, 1.0 / dealt.seats
    squares = counts.power(2) @ weight  # [G, P]
    of_group = np.repeat(np.arange(len(part)), np.diff(counts.indptr))
    here = csr_array((np.ones(len(counts.data)), counts.indices, counts.indptr), shape=counts.shape)
    bound = dealt.loose == 0
    lacking = 1.0 + float((np.square(dealt.seats.sum(axis=1)) * weight.max(axis=1)).sum())
    filled = dealt.filled(part)
    while (bound & (filled == 0).any(axis=1)).any() or dealt.distance(filled) > CLOSE:
        linear = counts @ (2.0 * (filled - dealt.seats) * weight)
        enters = squares + linear - lacking * (here @ ((filled == 0) & bound[:, None]))
        only = (counts.data == filled[counts.indices, part[of_group]]) & bound[counts.indices]
        every = np.arange(len(part))
        leaves = squares[every, part] - linear[every, part]
        leaves += lacking * np.bincount(of_group, weights=only, minlength=len(part))
        change = enters + leaves[:, None]
        change[every, part] = np.inf
        least = divmod(int(change.argmin()), change.shape[1])
        moves, gain = [least], float(change[least])
        if gain > -1e-6:
            moves, gain = _best_swap(dealt, part, change, weight)
        if gain > -1e-6:
            break
        for group, to in moves:
            row = counts[[group]].toarray()[0]
            filled[:, part[group]] -= row
            filled[:, to] += row
            part[group] = to
    return part


def _best_swap(dealt: _Groups, part: Ints, change: Floats, weight: Floats) -> tuple[list[tuple[int, int]], float]:
    """The swap of two groups that gains most, as two moves, and what it adds to the distance (0 where there is none).

    Its price is that of both moves less what the one leaves to the other. A class that one brings while the other takes
    it away is counted as lost, which at worst passes a swap over.
    """
    best: tuple[list[tuple[int, int]], float] = ([], 0.0)
    P = change.shape[1]
    for p in range(P):
        for q in range(p + 1, P):
            a, b = (
                members[np.argsort(change[members, to], kind="stable")[:SWAPPED]]
                for members, to in ((np.flatnonzero(part == p), q), (np.flatnonzero(part == q), p))
            )
            if not len(a) or not len(b):
                continue
            first = dealt.counts[a].multiply((weight[:, p] + weight[:, q])[None, :])
            both = (first @ dealt.counts[b].T).toarray()
            total = change[a, q][:, None] + change[b, p] - 2.0 * both
            i, j = np.unravel_index(int(total.argmin()), total.shape)
            if total[i, j] < best[1]:
                best = [(int(a[i]), q), (int(b[j]), p)], float(total[i, j])
    return best


def _covering(dealt: _Groups, tight: list[int], rng: np.random.Generator) -> Ints:
    """Parts with every class in each of them: exact for the tight classes, the other groups dealt around them.

    Classes that come out missing join the tight ones, so that the search ends with a split or with a proof.
    """
    while True:
        part = _exact(dealt, tight, rng)
        if part is None:
            raise NoSplitError(_in_the_way(dealt, tight, rng), proven=True)
        part = _greedy(dealt, part, rng)
        missing = dealt.missing(part)  # none of the tight ones
        part = _improved(dealt, part)
        if not dealt.missing(part):
            return part
        tight = [*tight, *missing]


def _in_the_way(dealt: _Groups, classes: list[int], rng: np.random.Generator) -> list[int]:
    """Of classes that cannot all be in every part, so many that each of them is needed to make it impossible."""
    for c in list(classes):
        others = [other for other in classes if other != c]
        try:
            if others and _exact(dealt, others, rng) is None:
                classes = others
        except NoSplitError:  # it is not known, and so the class stays
            continue
    return sorted(classes)


def _exact(dealt: _Groups, classes: list[int], rng: np.random.Generator) -> Ints | None:
    """Parts with these classes in each of them, -1 for groups without such a class; None: there is no way.

    Raises:
        NoSplitError: the search was given up.
    """
    from scipy.optimize import LinearConstraint, milp
    from scipy.sparse import eye_array, kron

    P = dealt.seats.shape[1]
    part = np.full(dealt.counts.shape[0], -1, dtype=np.int64)
    has = dealt.counts[:, classes] > 0  # [G, classes]
    groups = np.flatnonzero(has.sum(axis=1))
    x = len(groups), P  # 1 where a group is in a part; variables in the order of the groups
    one_part = kron(eye_array(len(groups)), np.ones((1, P)))
    all_parts = kron(has[groups].T, eye_array(P))
    result = milp(
        rng.random(len(groups) * P),
        integrality=np.ones(len(groups) * P),
        bounds=(0, 1),
        constraints=[LinearConstraint(one_part, 1, 1), LinearConstraint(all_parts, 1, np.inf)],
        # The first way that is found will do. Nobody should wait longer than a minute for it.
        options={"mip_rel_gap": 1.0, "node_limit": NODES, "time_limit": 60.0},
    )
    if result.x is None and result.status != 2:
        raise NoSplitError(sorted(classes), proven=False)
    if result.x is None:
        return None
    part[groups] = result.x.reshape(x).argmax(axis=1)
    return part
