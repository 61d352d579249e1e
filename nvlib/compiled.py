"""Numba, where it is installed, and the one loop it does not vectorise by itself.

Without Numba `COMPILED` is false and chips are read by `nvlib.reference`,
slower but to the same bits.
"""

from __future__ import annotations

try:
    import numba
    from llvmlite import ir
    from numba.core import cgutils
    from numba.extending import intrinsic
    from numba.np.arrayobj import make_array

    COMPILED = True
except ImportError:  # covered by a test in a process of its own
    COMPILED = False

#: Line lengths of `add_lines` are multiples of this many int32.
LINE_STEP = 8

if COMPILED:

    def compiled(function):
        """Compile once, keep that where a folder can be written, let threads run side by side."""
        try:
            return numba.njit(cache=True, nogil=True)(function)
        except RuntimeError:  # neither the package's folder nor the user's
            return numba.njit(nogil=True)(function)

    #: Pasted into its callers: a call that passes arrays costs as much as a small read.
    pasted = numba.njit(inline="always")

    @intrinsic  # type: ignore[misc]
    def add_lines(_context, table, starts, count, sums):
        """sums[j] = sum over i < count of table[starts[i] + j]; int32, whole vectors of 8.

        Numba's loop over j would load and store `sums` for every line. Here up to 32 columns
        stay in registers while all lines are added, which is three to four times as fast.
        """
        signature = numba.void(table, starts, count, sums)

        def generate(context, builder, signature, arguments):
            def array(i):
                return make_array(signature.args[i])(context, builder, arguments[i])

            table, starts, sums, count = array(0), array(1), array(3), arguments[2]
            index = count.type
            columns = cgutils.unpack_tuple(builder, sums.shape, 1)[0]
            done = index(0)
            for lanes in (4 * LINE_STEP, 2 * LINE_STEP, LINE_STEP):
                vector = ir.VectorType(ir.IntType(32), lanes)
                stop = builder.and_(columns, index(-lanes))
                with cgutils.for_range_slice(builder, done, stop, index(lanes)) as (j, _):
                    total = cgutils.alloca_once(builder, vector)
                    builder.store(ir.Constant(vector, [0] * lanes), total)
                    with cgutils.for_range(builder, count) as loop:
                        line = builder.load(builder.gep(starts.data, [loop.index]))
                        place = builder.gep(table.data, [builder.add(line, j)])
                        place = builder.bitcast(place, vector.as_pointer())
                        part = builder.load(place, align=4)
                        builder.store(builder.add(builder.load(total), part), total)
                    place = builder.bitcast(builder.gep(sums.data, [j]), vector.as_pointer())
                    builder.store(builder.load(total), place, align=4)
                done = stop
            return context.get_dummy_value()

        return signature, generate

else:

    def compiled(function):
        """Leave `function` as it is."""
        return function

    pasted = compiled

    def add_lines(table, starts, count, sums):  # type: ignore[misc]
        """sums[j] = sum over i < count of table[starts[i] + j]."""
        sums[:] = sum(table[start : start + len(sums)] for start in starts[:count])
