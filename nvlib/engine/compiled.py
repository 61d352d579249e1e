"""Numba, where it is installed, and the loops that it does not vectorise by itself.

Without Numba `COMPILED` is false and chips are read by `nvlib.engine.reference`,
slower but to the same bits.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from math import prod
from typing import Any

import numpy as np

try:
    import numba
    from llvmlite import binding, ir
    from numba.core import cgutils
    from numba.extending import intrinsic, register_jitable
    from numba.np.arrayobj import make_array

    COMPILED = True
except ImportError:  # covered by a test in a process of its own
    COMPILED = False

_WIDE = COMPILED and binding.get_host_cpu_features().get("avx512f", False)
#: Columns are filled up to a multiple of this many, the lanes of one vector.
LANES = 16 if _WIDE else 8
OUTPUT_LANES = 8  # and so the outputs of a read
#: Bytes of sums that stay in registers: three quarters of those of AVX-512, or of AVX2.
_SUMS = 24 * 64 if _WIDE else 12 * 32
_VECTORS = 4  # of a line that are added in one pass
_READS = 8  # whose lines are added in one pass


def most_reads(columns: int, kind: np.dtype) -> int:
    """Reads of so many columns that `add_reads` takes at once.

    Examples
    --------
    >>> most_reads(LANES, np.dtype(np.float32))
    8
    """
    vectors = min(columns // LANES, _VECTORS)
    return min(_SUMS // (vectors * LANES * kind.itemsize), _READS)


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
    #: Numba knows a kept function to be stale by its own source alone, so what is kept is named
    #: after the sources too whose functions are pasted into it.
    _SOURCES = (files("nvlib.engine").joinpath(f"{name}.py") for name in ("compiled", "noise"))
    _STAMP = hashlib.sha256(b"".join(f.read_bytes() for f in _SOURCES)).hexdigest()[:12]

    def compiled(function):
        """Compile once, keep that where a folder can be written, let threads run side by side."""
        function.__qualname__ += f"_{_STAMP}"
        try:
            return numba.njit(cache=True, nogil=True)(function)
        except RuntimeError:  # neither the package's folder nor the user's
            return numba.njit(nogil=True)(function)

    #: Pasted into its callers: a call that passes arrays costs as much as a small read.
    pasted = numba.njit(inline="always")
    #: Compiled with its callers, of numbers; from Python it runs as it stands, on NumPy's arrays.
    shared = register_jitable

    def _starts(places, context, builder, signature, arguments):
        """Pointers to the first elements of the arrays among the arguments at those places."""
        return [make_array(signature.args[i])(context, builder, arguments[i]).data for i in places]

    @intrinsic  # type: ignore[misc]
    def word_at(_context, array, place):
        """Eight bytes from any place of an array of bytes, as one number."""
        signature = numba.uint64(array, place)

        def generate(context, builder, signature, arguments):
            (source,) = _starts((0,), context, builder, signature, arguments)
            start = builder.gep(source, [arguments[1]])
            return builder.load(builder.bitcast(start, ir.IntType(64).as_pointer()), align=1)

        return signature, generate

    def _splat(builder, value, lanes=LANES):
        """A vector of one value."""
        empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        vector = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(vector, empty, first)

    def _at(builder, start, place, element, lanes=LANES):
        """Pointer to the vector that begins so many elements behind `start`."""
        vector = ir.VectorType(element, lanes)
        return builder.bitcast(builder.gep(start, [place]), vector.as_pointer())

    def _codes(builder, current, converter, top):
        """Codes, int32, of a vector of currents: floor((current + half) x reciprocal), clipped."""
        half, reciprocal = (_splat(builder, builder.extract_value(converter, i)) for i in (0, 1))
        code = builder.fmul(builder.fadd(current, half), reciprocal)
        zero = ir.Constant(code.type, [0] * LANES)
        code = builder.select(builder.fcmp_ordered(">", code, zero), code, zero)
        top = _splat(builder, top)
        code = builder.select(builder.fcmp_ordered("<", code, top), code, top)
        return builder.fptosi(code, ir.VectorType(ir.IntType(32), LANES))

    def _count_codes(builder, codes, shift, target):
        """Add codes x 2^shift to the totals at a pointer."""
        codes = builder.shl(codes, _splat(builder, shift))
        builder.store(builder.add(builder.load(target, align=4), codes), target, align=4)

    @intrinsic  # type: ignore[misc]
    def add_reads(
        _context, table, chosen, number, sources, lines, inputs, place, stride, count, columns,
        converter, shift, out,
    ):  # fmt: skip
        """Currents of `count` reads, side by side in `out`, or their codes, added to `out`.

        The current of read i in column j is the sum, over `number` groups g in `chosen`, of what
        the input x = inputs[place + i stride + sources[g]] gives: table[lines[g] + x columns + j]
        if it is a pattern, x table[lines[g] + j] if it is a drive (a float). With a `converter`,
        codes x 2^shift are added to totals; without (None), currents are stored.

        Numba's loop over j would load and store the sums for every line. Here those of several
        reads and up to 4 vectors of columns stay in registers while all lines are added. Products
        are fused with sums: exact for whole numbers that the type holds.
        """
        signature = numba.void(
            table, chosen, number, sources, lines, inputs, place, stride, count, columns,
            converter, shift, out,
        )  # fmt: skip
        scaled = isinstance(inputs.dtype, numba.types.Float)
        converting = not isinstance(converter, numba.types.NoneType)
        kind, fused = table.dtype, ("contract",)
        floating = isinstance(kind, numba.types.Float)
        held: Any = kind if floating else numba.int32  # integers are added as int32
        size = held.bitwidth // 8

        def generate(context, builder, signature, arguments):
            table, chosen, sources, lines, inputs, out = _starts(
                (0, 1, 3, 4, 5, 12), context, builder, signature, arguments
            )
            number, place, stride, count, columns, converter, shift = (
                arguments[i] for i in (2, 6, 7, 8, 9, 10, 11)
            )
            index, element = columns.type, table.type.pointee
            vector = ir.VectorType(context.get_value_type(held), LANES)
            zero = ir.Constant(vector, [0] * LANES)
            together = builder.fadd if floating else builder.add
            shift = builder.trunc(shift, ir.IntType(32))

            def load(start, v):
                place = _at(builder, start, index(v * LANES), element)
                part = builder.load(place, align=kind.bitwidth // 8)
                return builder.sext(part, vector) if kind.bitwidth < held.bitwidth else part

            def add(j, reads, vectors):
                """Add all lines of so many reads at so many vectors of columns from j on."""
                sums = [
                    [cgutils.alloca_once_value(builder, zero) for _ in range(vectors)]
                    for _ in range(reads)
                ]
                for one in sums:
                    for total in one:
                        builder.store(zero, total)
                with cgutils.for_range(builder, number, intp=index) as loop:
                    group = builder.load(builder.gep(chosen, [loop.index]))
                    source = builder.load(builder.gep(sources, [group]))
                    source = builder.gep(inputs, [builder.add(place, source)])
                    line = builder.load(builder.gep(lines, [group]))
                    line = builder.gep(table, [builder.add(line, j)])
                    if scaled:
                        parts = [load(line, v) for v in range(vectors)]
                    for one in sums:
                        value = builder.load(source)
                        if scaled:
                            factor = _splat(builder, value)
                        else:
                            value = builder.mul(builder.zext(value, index), columns)
                            pattern = builder.gep(line, [value])
                        for v, total in enumerate(one):
                            if scaled:
                                part = builder.fmul(parts[v], factor, flags=fused)
                                part = builder.fadd(builder.load(total), part, flags=fused)
                            else:
                                part = together(builder.load(total), load(pattern, v))
                            builder.store(part, total)
                        source = builder.gep(source, [stride])
                for i, one in enumerate(sums):
                    behind = builder.gep(out, [builder.add(builder.mul(columns, index(i)), j)])
                    for v, total in enumerate(one):
                        target = _at(builder, behind, index(v * LANES), behind.type.pointee)
                        current = builder.load(total)
                        if not floating:
                            real = builder.extract_value(converter, 0) if converting else out
                            real = real.type if converting else real.type.pointee
                            current = builder.sitofp(current, ir.VectorType(real, LANES))
                        if converting:
                            top = builder.extract_value(converter, 2)
                            codes = _codes(builder, current, converter, top)
                            _count_codes(builder, codes, shift, target)
                        else:
                            builder.store(current, target, align=4)

            def add_any(j, vectors):
                """Add those of `count` reads."""
                end = builder.append_basic_block("end")
                choice = builder.switch(count, end)
                for reads in range(1, min(_SUMS // (vectors * LANES * size), _READS) + 1):
                    block = builder.append_basic_block(f"reads{reads}")
                    choice.add_case(index(reads), block)
                    builder.position_at_end(block)
                    add(j, reads, vectors)
                    builder.branch(end)
                builder.position_at_end(end)

            most = index(_VECTORS * LANES)
            rest = builder.urem(columns, most)
            whole = builder.sub(columns, rest)
            with cgutils.for_range_slice(builder, index(0), whole, most) as (j, _):
                add_any(j, _VECTORS)
            end = builder.append_basic_block("end")
            choice = builder.switch(rest, end)
            for vectors in range(1, _VECTORS):
                block = builder.append_basic_block(f"rest{vectors}")
                choice.add_case(index(vectors * LANES), block)
                builder.position_at_end(block)
                add_any(whole, vectors)
                builder.branch(end)
            builder.position_at_end(end)
            return context.get_dummy_value()

        return signature, generate

    @intrinsic  # type: ignore[misc]
    def convert(_context, currents, start, columns, converter, top, shift, totals):
        """Add codes x 2^shift of currents[start : start + columns] to totals from there on."""
        signature = numba.void(currents, start, columns, converter, top, shift, totals)

        def generate(context, builder, signature, arguments):
            currents, totals = _starts((0, 6), context, builder, signature, arguments)
            _, start, columns, converter, top, shift, _ = arguments
            shift = builder.trunc(shift, ir.IntType(32))
            end, step = builder.add(start, columns), columns.type(LANES)
            with cgutils.for_range_slice(builder, start, end, step) as (j, _):
                current = builder.load(_at(builder, currents, j, currents.type.pointee), align=4)
                codes = _codes(builder, current, converter, top)
                _count_codes(builder, codes, shift, _at(builder, totals, j, ir.IntType(32)))
            return context.get_dummy_value()

        return signature, generate

    @intrinsic  # type: ignore[misc]
    def look_up(_context, codes, entries, columns, shift, totals, start):
        """Add codes[entries[j]] x 2^shift to totals[start + j], j below `columns`.

        Codes are gathered into vectors: a plain loop loads and stores each total by itself.
        """
        signature = numba.void(codes, entries, columns, shift, totals, start)

        def generate(context, builder, signature, arguments):
            codes, entries, totals = _starts((0, 1, 4), context, builder, signature, arguments)
            _, _, columns, shift, _, start = arguments
            shift, index = builder.trunc(shift, ir.IntType(32)), columns.type
            none = ir.Constant(ir.VectorType(codes.type.pointee, LANES), ir.Undefined)
            whole = ir.VectorType(ir.IntType(32), LANES)
            with cgutils.for_range_slice(builder, index(0), columns, index(LANES)) as (j, _):
                found = none
                for lane in range(LANES):
                    entry = builder.load(builder.gep(entries, [builder.add(j, index(lane))]))
                    code = builder.load(builder.gep(codes, [builder.zext(entry, index)]))
                    found = builder.insert_element(found, code, ir.Constant(whole.element, lane))
                target = _at(builder, totals, builder.add(start, j), whole.element)
                _count_codes(builder, builder.zext(found, whole), shift, target)
            return context.get_dummy_value()

        return signature, generate

    @intrinsic  # type: ignore[misc]
    def add_slices(
        _context, totals, count, columns, slices, coefficients, reference, beside, out, place,
        step, width, more,
    ):  # fmt: skip
        """Outputs of `count` reads, out[place + i step :][:width], from their columns' totals.

        Each is the sum over slices b of coefficients[b] x totals[i columns + slices[b] :], and of
        `beside` x totals[i columns + reference] if there is a reference column (from 0 on). With
        `more` they are added to what is there. `width` is filled up to whole vectors.
        """
        signature = numba.void(
            totals, count, columns, slices, coefficients, reference, beside, out, place, step,
            width, more,
        )  # fmt: skip

        def generate(context, builder, signature, arguments):
            totals, slices, coefficients, out = _starts(
                (0, 3, 4, 7), context, builder, signature, arguments
            )
            number = cgutils.unpack_tuple(
                builder, make_array(signature.args[3])(context, builder, arguments[3]).shape, 1
            )[0]
            count, columns, reference, beside, place, step, width, more = (
                arguments[i] for i in (1, 2, 5, 6, 8, 9, 10, 11)
            )
            index, whole, lanes = columns.type, ir.IntType(32), OUTPUT_LANES
            zero = ir.Constant(ir.VectorType(whole, lanes), [0] * lanes)
            with cgutils.for_range(builder, count, intp=index) as read:
                own = builder.gep(totals, [builder.mul(read.index, columns)])
                target = builder.gep(out, [builder.add(place, builder.mul(read.index, step))])
                first = cgutils.alloca_once_value(builder, zero)
                builder.store(zero, first)
                with builder.if_then(builder.icmp_signed(">=", reference, index(0))):
                    value = builder.load(builder.gep(own, [reference]))
                    builder.store(_splat(builder, builder.mul(value, beside), lanes), first)
                with cgutils.for_range_slice(builder, index(0), width, index(lanes)) as (m, _):
                    at = _at(builder, target, m, whole, lanes)
                    total = cgutils.alloca_once(builder, zero.type)
                    builder.store(builder.load(first), total)
                    with cgutils.for_range(builder, number, intp=index) as loop:
                        place_of = builder.load(builder.gep(slices, [loop.index]))
                        part = _at(builder, own, builder.add(place_of, m), whole, lanes)
                        factor = builder.load(builder.gep(coefficients, [loop.index]))
                        part = builder.load(part, align=4)
                        part = builder.mul(part, _splat(builder, factor, lanes))
                        builder.store(builder.add(builder.load(total), part), total)
                    with builder.if_then(more):
                        part = builder.add(builder.load(total), builder.load(at, align=4))
                        builder.store(part, total)
                    builder.store(builder.load(total), at, align=4)
            return context.get_dummy_value()

        return signature, generate

else:

    def shared(function):  # type: ignore[misc]
        """Leave `function` as it is."""
        return function
