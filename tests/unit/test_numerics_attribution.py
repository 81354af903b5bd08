"""The order in which a change of variance is split, on numbers small enough for a sheet of paper."""

import numpy as np
import pytest

from assets.numerics.attribution import PARTS, variance_path
from assets.numerics.stress import following_moves, window_returns


def test_each_part_by_hand_of_one_factor() -> None:
    """Promise: trades, prices, betas, factors, specific, in that order, add up to the change; a year has 252 sessions.

    By hand, a session's variance: 1*1+1=2; 4*1+3=7; 9*1+5=14; 16*1+5=21; 16*2+5=37; 16*2+9=41.
    """
    path = variance_path(np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([[[1.0]], [[2.0]]]), np.array([1, 3, 5, 9.0]))
    assert PARTS == ("trades", "prices", "betas", "factors", "specific")
    assert np.diff(path).tolist() == [252.0 * part for part in (5, 7, 7, 16, 4)]
    assert path[-1] - path[0] == 252.0 * 39


def test_two_factors_that_move_together_count_so() -> None:
    """Promise: covariances count: b = (1, 2), F = ((2, 1), (1, 3)) is 2 + 2 * 2 + 12 = 18."""
    same, f = np.array([[1.0, 2.0]] * 4), np.array([[[2.0, 1.0], [1.0, 3.0]]] * 2)
    assert variance_path(same, f, np.zeros(4)).tolist() == [252.0 * 18] * 6


def test_factors_that_follow_move_by_their_beta_to_those_given() -> None:
    """Promise: the second moves by cov/var of the first, 0.5 of it by hand; what is given stays as it is."""
    covariance = np.array([[4.0, 2.0], [2.0, 9.0]])
    assert following_moves(covariance, np.array([-0.2, np.nan])) == pytest.approx([-0.2, -0.1], rel=1e-15)
    assert following_moves(covariance, np.array([-0.2, 0.3])) == pytest.approx([-0.2, 0.3], rel=1e-15)


def test_a_window_s_return_has_splits_and_dividends_in_it() -> None:
    """Promise: by hand, 10 shares' worth: 100 to 60 after 2 for 1 with 1 paid at 50 is 2 * 1.02 * 60 / 100 - 1."""
    close = np.array([[100.0, 100.0], [50.0, np.nan], [60.0, 90.0]])
    dividend, split = np.array([[9.0, 0.0], [1.0, 0.0], [0.0, 0.0]]), np.array([[1.0, 1.0], [2.0, 1.0], [1.0, 1.0]])
    assert window_returns(close, dividend, split) == pytest.approx([0.224, -0.1], rel=1e-14)
    assert np.isnan(window_returns(np.array([[np.nan], [1.0]]), np.zeros((2, 1)), np.ones((2, 1)))).all()
