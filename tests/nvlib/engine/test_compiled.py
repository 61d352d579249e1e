"""Kernels compile, whatever folders can be written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import pytest

from artifact.paths import ROOT
from nvlib.engine import compiled


@pytest.mark.skipif(not compiled.COMPILED, reason="needs Numba")
def test_where_no_cache_can_be_written_kernels_compile_all_the_same(monkeypatch):
    from numba.core import caching

    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])
    assert compiled.compiled(lambda x: x + 1)(2) == 3


@pytest.mark.skipif(not compiled.COMPILED, reason="needs Numba")
def test_a_kept_kernel_is_stale_where_what_is_pasted_into_it_changed(tmp_path):
    """Numba looks at a function's own source alone."""
    shutil.copytree(ROOT / "nvlib", tmp_path / "nvlib", ignore=shutil.ignore_patterns("__py*"))
    user, noise = tmp_path / "user.py", tmp_path / "nvlib" / "engine" / "noise.py"
    user.write_text(
        "import numpy as np\n"
        "from nvlib.engine.compiled import compiled\n"
        "from nvlib.engine.noise import hash64\n"
        "@compiled\ndef kernel(key):\n    return hash64(key, np.uint64(1))\n"
        "key = np.uint64(5)\n"
        "with np.errstate(over='ignore'):\n    print(kernel(key) == hash64(key, np.uint64(1)))\n"
    )
    for constant in (0x9E3779B97F4A7C15, 0x1234567890ABCDEF):
        text = noise.read_text(encoding="utf-8")
        found, count = re.subn(r"(counter \* np\.uint64\()\w+", rf"\g<1>{constant}", text)
        assert count == 1
        noise.write_text(found, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(user)], cwd=tmp_path, capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        assert done.stdout == "True\n"
    assert len(list((tmp_path / "__pycache__").glob("user.kernel*.nbi"))) == 2
