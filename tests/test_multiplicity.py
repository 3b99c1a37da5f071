"""P-values that are read together."""

import pytest

from semscale.errors import UsageError
from semscale.stats import holm


def test_holm_by_hand():
    """0.01 * 4, 0.02 * 3, then 0.03 * 2 = 0.06 and 0.04 * 1, which may not fall below 0.06."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.001]) == pytest.approx([1.0, 1.0, 0.003])


def test_holm_leaves_out_tests_that_could_not_be_done():
    assert holm([0.01, float("nan"), 0.03]) == pytest.approx([0.02, float("nan"), 0.03], nan_ok=True)
    assert len(holm([])) == 0


@pytest.mark.parametrize("p", [[1.1], [-0.1], [[0.5]], ["a"]])
def test_holm_refuses_what_is_no_p_value(p):
    with pytest.raises(UsageError, match="holm"):
        holm(p)
