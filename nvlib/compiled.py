"""Numba, where it is installed, and the one loop it does not vectorise by itself.

Without Numba `COMPILED` is false and chips are read by `nvlib.reference`,
slower but to the same bits.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

try:
    import numba
    from llvmlite import ir
    from numba.core import cgutils
    from numba.extending import intrinsic, register_jitable
    from numba.np.arrayobj import make_array

    COMPILED = True
except ImportError:  # covered by a test in a process of its own
    COMPILED = False

#: Columns are filled up to a multiple of this many, the lanes of one vector.
LANES = 8
#: Vectors that stay in registers while lines are added: half of those that AVX2 has.
MOST_BYTES = 256


def aligned(shape: tuple[int, ...], kind: np.dtype) -> np.ndarray:
    """Zeros that begin where a cache line does: vectors that cross one take half as long again.

    Examples
    --------
    >>> aligned((3, 8), np.dtype(np.float32)).ctypes.data % 64
    0
    """
    size = prod(shape) * kind.itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64  # at a tenth of the cost of `ctypes`
    return raw[start : start + size].view(kind).reshape(shape)


if COMPILED:

    def compiled(function):
        """Compile once, keep that where a folder can be written, let threads run side by side."""
        try:
            return numba.njit(cache=True, nogil=True)(function)
        except RuntimeError:  # neither the package's folder nor the user's
            return numba.njit(nogil=True)(function)

    #: Pasted into its callers: a call that passes arrays costs as much as a small read.
    pasted = numba.njit(inline="always")
    #: Compiled with its callers, of numbers; from Python it runs as it stands, on NumPy's arrays.
    shared = register_jitable

    @intrinsic  # type: ignore[misc]
    def add_lines(_context, table, starts, factors, count, sums):
        """sums[j] = sum over i < count of table[starts[i] + j] x factors[i], which may be None.

        Whole vectors of 8. Numba's loop over j would load and store `sums` for every line. Here
        up to 64 columns stay in registers while all lines are added, which is several times as
        fast. Products are fused with sums: exact for whole numbers that the type holds. Lines of
        integers are added as int32, whatever `sums` are.
        """
        signature = numba.void(table, starts, factors, count, sums)
        scaled = not isinstance(factors, numba.types.NoneType)
        kind, total_kind = table.dtype, sums.dtype
        floating = isinstance(kind, numba.types.Float)
        held: Any = kind if floating else numba.int32
        most = MOST_BYTES // (held.bitwidth // 8)

        def generate(context, builder, signature, arguments):
            def array(i):
                return make_array(signature.args[i])(context, builder, arguments[i])

            table, starts, sums, count = array(0), array(1), array(4), arguments[3]
            factors = array(2) if scaled else table
            index, columns = count.type, cgutils.unpack_tuple(builder, sums.shape, 1)[0]
            line, vector, result = (
                ir.VectorType(context.get_value_type(one), LANES)
                for one in (kind, held, total_kind)
            )
            zero = ir.Constant(vector, [0] * LANES)
            first = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            together = builder.fadd if floating else builder.add
            fused = ("contract",) if scaled else ()

            def at(array, place, kind):
                return builder.bitcast(builder.gep(array.data, [place]), kind.as_pointer())

            def add(j, lanes):
                """Add all lines at columns j to j + lanes."""
                shifts = [index(shift) for shift in range(0, lanes, LANES)]
                totals = [cgutils.alloca_once(builder, vector) for _ in shifts]
                for total in totals:
                    builder.store(zero, total)
                with cgutils.for_range(builder, count) as loop:
                    place = builder.add(builder.load(builder.gep(starts.data, [loop.index])), j)
                    if scaled:
                        factor = builder.load(builder.gep(factors.data, [loop.index]))
                        factor = builder.insert_element(
                            zero, factor, ir.Constant(ir.IntType(32), 0)
                        )
                        factor = builder.shuffle_vector(factor, factor, first)
                    for shift, total in zip(shifts, totals):
                        part = at(table, builder.add(place, shift), line)
                        part = builder.load(part, align=kind.bitwidth // 8)
                        if kind.bitwidth < held.bitwidth:
                            part = builder.sext(part, vector)
                        if scaled:
                            part = builder.fmul(part, factor, flags=fused)
                        part = together(builder.load(total), part, flags=fused)
                        builder.store(part, total)
                for shift, total in zip(shifts, totals):
                    total = builder.load(total)
                    if result != vector:
                        total = builder.sitofp(total, result)
                    builder.store(total, at(sums, builder.add(j, shift), result), align=4)

            rest = builder.urem(columns, index(most))
            whole = builder.sub(columns, rest)
            with cgutils.for_range_slice(builder, index(0), whole, index(most)) as (j, _):
                add(j, most)
            end = builder.append_basic_block("end")
            choice = builder.switch(rest, end)
            for lanes in range(LANES, most, LANES):
                block = builder.append_basic_block(f"rest{lanes}")
                choice.add_case(index(lanes), block)
                builder.position_at_end(block)
                add(whole, lanes)
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return signature, generate

else:

    def compiled(function):
        """Leave `function` as it is."""
        return function

    pasted = shared = compiled  # type: ignore[assignment]

    def add_lines(table, starts, factors, count, sums):  # type: ignore[misc]
        """sums[j] = sum over i < count of table[starts[i] + j] x factors[i]."""
        sums[:] = 0
        for i in range(count):
            line = table[starts[i] : starts[i] + len(sums)]
            sums += line if factors is None else line * factors[i]
