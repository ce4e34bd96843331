"""Windows of truncated back-propagation as the authors' code cuts them."""

import numpy as np
import pytest

from common.error import ConfigError
from common.window import make_windows, windows_bytes


def test_rows_are_contiguous_slices_and_targets_one_step_ahead():
    windows = make_windows(np.arange(23), 3, 2, split="train")

    # 23 // 3 = 7 tokens a row: six of them are inputs, and tokens 21 and 22 are dropped.
    assert windows.inputs.tolist() == [
        [[0, 1], [7, 8], [14, 15]],
        [[2, 3], [9, 10], [16, 17]],
        [[4, 5], [11, 12], [18, 19]],
    ]
    np.testing.assert_array_equal(windows.targets, windows.inputs + 1)
    assert windows.inputs.dtype == windows.targets.dtype == np.int32


def test_the_last_token_of_a_row_is_a_target_only():
    # 6 tokens a row would be three windows of two, but the last input would have no target.
    assert len(make_windows(np.arange(12), 2, 2, split="train").inputs) == 2
    assert len(make_windows(np.arange(14), 2, 2, split="train").inputs) == 3


@pytest.mark.parametrize("tokens", [9, 23, 24, 27])
def test_the_bytes_of_windows(tokens):
    windows = make_windows(np.arange(tokens), 3, 2, split="train")
    assert windows_bytes(tokens, 3, 2) == windows.inputs.nbytes + windows.targets.nbytes


def test_some_rows_are_those_of_all():
    whole = make_windows(np.arange(23), 3, 2, split="train")
    some = make_windows(np.arange(23), 3, 2, split="train", rows=np.array([0, 2]))
    np.testing.assert_array_equal(some.inputs, whole.inputs[:, [0, 2]])
    np.testing.assert_array_equal(some.targets, whole.targets[:, [0, 2]])


@pytest.mark.parametrize(("tokens", "count"), [(929_589, 1327), (73_760, 105), (82_430, 117)])
def test_window_counts_of_penn_treebank(tokens, count):
    windows = make_windows(np.arange(tokens), 20, 35, split="train")

    assert windows.inputs.shape == windows.targets.shape == (count, 20, 35)
    # Row b starts at token b · (tokens // 20), and the rows run on from window to window.
    assert windows.inputs[0, :, 0].tolist() == [b * (tokens // 20) for b in range(20)]
    rows = windows.inputs.swapaxes(0, 1).reshape(20, -1)
    assert (np.diff(rows, axis=1) == 1).all()


@pytest.mark.parametrize("tokens", [73_760, 82_430])
def test_at_batch_one_every_token_but_the_first_is_predicted(tokens):
    windows = make_windows(np.arange(tokens), 1, 1, split="test")

    assert windows.targets.ravel().tolist() == list(range(1, tokens))


def test_window_count_of_enwik8(monkeypatch):
    # 90 M tokens that take no memory: one number seen 90 M times; kept from being copied out.
    monkeypatch.setattr(np, "ascontiguousarray", lambda array: array)
    tokens = np.broadcast_to(np.int32(0), 90_000_000)

    windows = make_windows(tokens, 128, 50, split="train")

    assert windows.inputs.shape == (14_062, 128, 50)
    assert windows.inputs.strides == (0, 0, 0)  # nothing was copied


@pytest.mark.parametrize("tokens", [0, 1, 20, 20 * 35, 20 * 36 - 1])
def test_too_short_a_split_is_an_error_that_says_what_to_lower(tokens):
    with pytest.raises(ConfigError, match=rf"valid split has {tokens} tokens.*20 × 35: lower"):
        make_windows(np.zeros(tokens, np.int32), 20, 35, split="valid")


def test_just_enough_for_one_window():
    assert len(make_windows(np.zeros(20 * 36, np.int32), 20, 35, split="valid").inputs) == 1
