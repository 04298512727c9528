"""Pure: whether people fall to the arms of a test as its shares say, told with a bound on error that holds at every look.

Under the hypothesis of no difference, each answer comes from arm k with the share of people that k was meant to get, whoever
answered before. The evidence is a Bayes factor: how much better the counts are predicted by shares that may be any near the
meant ones (a Dirichlet prior) than by the meant ones themselves. Without a difference it is a non-negative martingale that
begins at 1, so it ever reaches 20 in at most 1 of 20 tests (Ville's inequality), however often one looks and whenever one
stops (Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022). A fixed test that is looked at
daily has no such bound.
"""

import math
from collections.abc import Sequence

PRIOR = 100.0
"""How near the meant shares the prior expects the true ones: as after so many answers."""
CLEAR = 20.0
"""Evidence from which on a difference is called: 1 over the share of tests in which chance may do that."""
MOST = 1e9
"""What is told of evidence ends here; beyond, it is only a number that no JSON reader likes."""
_NORMAL_95 = 1.959964


def log_evidence(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Natural logarithm of the evidence that `counts` do not fall by `shares` (positive, sum 1), one each an arm."""
    found = math.lgamma(PRIOR) - math.lgamma(PRIOR + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        found += math.lgamma(PRIOR * share + count) - math.lgamma(PRIOR * share) - count * math.log(share)
    return found


def evidence(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The same as a factor, from 0 to `MOST`: below 1 speaks for the shares, above 1 against them."""
    return math.exp(min(log_evidence(counts, shares), math.log(MOST)))


def is_clear(counts: Sequence[int], shares: Sequence[float], tests: int = 1) -> bool:
    """Whether a difference may be called; as one of so many tests it has to be so much clearer (Bonferroni)."""
    return log_evidence(counts, shares) >= math.log(CLEAR * tests)


def clearly_behind(counts: Sequence[int], shares: Sequence[float], best: int) -> list[int]:
    """The arms that are clearly worse than arm `best`, each told from it by the answers of these two alone.

    Which one is best was read off the same counts, so any pair of arms may come to be asked about: each has to be as clear as
    one of so many tests, and of tests in which some arms are equal at most 1 of 20 ever tells such two apart.
    """
    pairs = math.comb(len(counts), 2)
    return [arm for arm in range(len(counts)) if arm != best and _told_apart(counts, shares, best, arm, pairs)]


def _told_apart(counts: Sequence[int], shares: Sequence[float], one: int, other: int, tests: int) -> bool:
    both = shares[one] + shares[other]
    return is_clear([counts[one], counts[other]], [shares[one] / both, shares[other] / both], tests)


def fewest(shares: Sequence[float]) -> int:
    """With fewer counts no difference could be called, even if all of them fell to one arm; 0 where there is one arm."""
    if len(shares) < 2:
        return 0
    rarest = min(shares)
    total = 1
    while not is_clear([total, 0], [rarest, 1 - rarest]):
        total += 1
    return total


def interval(part: int, of: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate. For one look, as information: no difference is called by it."""
    if not of:
        return 0.0, 1.0
    rate, z2 = part / of, _NORMAL_95**2
    middle = (rate + z2 / (2 * of)) / (1 + z2 / of)
    reach = _NORMAL_95 / (1 + z2 / of) * math.sqrt(rate * (1 - rate) / of + z2 / (4 * of * of))
    return max(0.0, middle - reach), min(1.0, middle + reach)
