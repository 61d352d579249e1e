"""Kernels compile, whatever folders can be written."""

from __future__ import annotations

import pytest

from nvlib import compiled


@pytest.mark.skipif(not compiled.COMPILED, reason="needs Numba")
def test_where_no_cache_can_be_written_kernels_compile_all_the_same(monkeypatch):
    from numba.core import caching

    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert compiled.compiled(lambda x: x + 1)(2) == 3
