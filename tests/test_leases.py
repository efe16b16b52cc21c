"""Memory of large results is used again, and never while somebody looks at it."""

import gc
import threading

import numpy as np
import pytest

from backproof import functional as F
from backproof.kernels import leases

SHAPE = (1024, 1024)  # 4 MB


@pytest.fixture(autouse=True)
def nothing_kept():
    leases.clear()
    yield
    leases.clear()


def address(a):
    return a.ctypes.data


def test_memory_is_used_again():
    first = leases.empty(SHAPE, np.float32)
    place = address(first)
    del first
    assert address(leases.empty(SHAPE, np.float32)) == place


def test_never_while_a_view_is_alive():
    first = leases.empty(SHAPE, np.float32)
    first[...] = 7.0
    view = first.reshape(-1)[5:9]
    del first
    gc.collect()
    other = leases.empty(SHAPE, np.float32)
    other[...] = 1.0
    assert not np.shares_memory(view, other)
    assert view.tolist() == [7.0] * 4


def test_arrays_are_ordinary():
    a = leases.empty((512, 1024), np.float64)
    assert a.shape == (512, 1024)
    assert a.dtype == np.float64
    assert a.flags.c_contiguous
    assert a.flags.writeable
    assert a.flags.aligned
    assert type(a) is np.ndarray


def test_what_is_kept_is_bounded():
    arrays = [leases.empty(SHAPE, np.float32) for _ in range(leases.KEPT + 3)]
    del arrays
    assert len(leases._blocks) == leases.KEPT
    small, huge = leases.empty((4, 4), np.float32), leases.empty((leases.LARGEST // 4 + 1,), np.float32)
    assert small.base is None
    assert huge.base is None


def test_the_bytes_that_are_kept_are_bounded():
    shape = (leases.LARGEST // 12, 1)  # a third
    arrays = [leases.empty(shape, np.float32) for _ in range(3)]
    arrays.append(leases.empty(SHAPE, np.float32))
    del arrays[:3]
    assert len(leases._blocks) == 3
    arrays.clear()
    assert [len(block) for block in leases._blocks] == [4 * shape[0], 4 * shape[0], 4 << 20]


def test_gradients_of_a_linear_layer_use_memory_again():
    x, w = (np.random.default_rng(0).standard_normal((n, 64), dtype=np.float32) for n in (200, 5000))
    labels = np.arange(200)
    dw = F.linear_cross_entropy_and_grad(x, w, labels)[2]
    place, expected = address(dw), dw.copy()
    del dw
    dw = F.linear_cross_entropy_and_grad(x, w, labels)[2]
    assert address(dw) == place
    np.testing.assert_array_equal(dw, expected)
    other = F.linear_cross_entropy_and_grad(x + 1, w, labels)[2]
    assert address(other) != place
    np.testing.assert_array_equal(dw, expected)


def test_a_block_is_not_given_for_something_much_smaller():
    first = leases.empty((4096, 1024), np.float32)
    place = address(first)
    del first
    assert address(leases.empty(SHAPE, np.float32)) != place


def test_new_sizes_find_room():
    """Old blocks go when others are given up."""
    sizes = [1024 << (2 * i) for i in range(leases.KEPT + 1)]
    for rows in sizes:
        a = leases.empty((rows, 64), np.float32)
        del a
    assert [len(block) for block in leases._blocks] == [256 * rows for rows in sizes[1:]]


def test_threads_do_not_share_a_block():
    errors = []

    def work(number):
        for _ in range(200):
            a = leases.empty((300, 1024), np.float32)
            a[::50] = number
            if not (a[::50] == number).all():
                errors.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_results_of_functions_keep_their_values():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((600, 600), dtype=np.float32)
    first = F.softmax(z)
    copy = first.copy()
    for _ in range(3):
        F.softmax(z + 1)
    assert np.array_equal(first, copy)
