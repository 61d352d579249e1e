"""What noise and nonlinear converters make of column currents, a vector at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from nvlib.compiled import COMPILED, LANES
from nvlib.noise import normal

if COMPILED:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.extending import intrinsic
    from numba.np.arrayobj import make_array

    from nvlib.compiled import count_codes, lanes_at, splat

    class Lanes:
        """A vector of a program that is being built, with operators of NumPy's arrays."""

        def __init__(self, builder: Any, value: Any) -> None:
            self.builder, self.value = builder, value

        def _with(self, other: Any, whole: str, real: str = "") -> Lanes:
            kind = self.value.type
            if not isinstance(other, Lanes):
                other = Lanes(self.builder, ir.Constant(kind, [other] * kind.count))
            name = whole if isinstance(kind.element, ir.IntType) else real
            return Lanes(self.builder, getattr(self.builder, name)(self.value, other.value))

        def __add__(self, other: Any) -> Lanes:
            return self._with(other, "add", "fadd")

        def __sub__(self, other: Any) -> Lanes:
            return self._with(other, "sub", "fsub")

        def __mul__(self, other: Any) -> Lanes:
            return self._with(other, "mul", "fmul")

        def __xor__(self, other: Any) -> Lanes:
            return self._with(other, "xor")

        def __and__(self, other: Any) -> Lanes:
            return self._with(other, "and_")

        def __rshift__(self, places: int) -> Lanes:
            return self._with(places, "lshr")

        def view(self, kind: type) -> Lanes:
            """The same bits as floats."""
            assert kind is np.float32
            real = ir.VectorType(ir.FloatType(), self.value.type.count)
            return Lanes(self.builder, self.builder.bitcast(self.value, real))

        def real(self, element: Any) -> Lanes:
            """Floats as those of another type."""
            kind = ir.VectorType(element, self.value.type.count)
            if kind == self.value.type:
                return self
            change = self.builder.fpext if element == ir.DoubleType() else self.builder.fptrunc
            return Lanes(self.builder, change(self.value, kind))

        def through(self, function: str) -> Lanes:
            """What LLVM's function of that name makes of floats."""
            kind = self.value.type
            name = f"llvm.{function}.v{kind.count}{kind.element.intrinsic_name}"
            module, type_ = self.builder.module, ir.FunctionType(kind, [kind])
            called = cgutils.get_or_insert_function(module, type_, name)
            return Lanes(self.builder, self.builder.call(called, [self.value]))

    def _load(builder: Any, array: Any, place: Any, lanes: int = LANES) -> Lanes:
        pointer = lanes_at(builder, array, place, array.type.pointee, lanes)
        return Lanes(builder, builder.load(pointer, align=4))

    @intrinsic  # type: ignore[misc]
    def add_noise(
        _context, currents, start, columns, spreads, sums, cell, own, low, high, numbers
    ):  # fmt: skip
        """Add whole steps of normal noise to currents[start : start + columns].

        `low` and `high` are the halves of a read's hash, numbers[j] is that of column j in its
        layer. Its standard deviation is spreads[j]; or, where there are `sums` of the weights of
        its cells' variances, the square root of cell x sums[start + j] + own[j], as float32.
        """
        signature = types.void(
            currents, start, columns, spreads, sums, cell, own, low, high, numbers
        )
        fluctuating = isinstance(sums, types.Array)

        def generate(context, builder, signature, arguments):
            def data(i):
                return make_array(signature.args[i])(context, builder, arguments[i]).data

            currents, spreads, own, numbers = map(data, (0, 3, 6, 9))
            _, start, columns, _, _, cell, _, low, high, _ = arguments
            index, kind = columns.type, currents.type.pointee

            def add(j, lanes):
                """To the currents of so many columns from j on."""
                place = builder.add(start, j)
                if fluctuating:
                    variance = _load(builder, data(4), place, lanes).real(ir.DoubleType())
                    variance *= Lanes(builder, splat(builder, cell, lanes))
                    variance += _load(builder, own, j, lanes)
                    spread = variance.through("sqrt").real(ir.FloatType())
                else:
                    spread = _load(builder, spreads, j, lanes)
                halves = (Lanes(builder, splat(builder, half, lanes)) for half in (low, high))
                draw = normal(*halves, _load(builder, numbers, j, lanes))  # type: ignore[call-arg]
                noisy = _load(builder, currents, place, lanes)
                noisy += (draw * spread).through("rint").real(kind)
                target = lanes_at(builder, currents, place, kind, lanes)
                builder.store(noisy.value, target, align=4)

            two = index(2 * LANES)  # side by side: one operation waits for the other in each
            rest = builder.urem(columns, two)
            whole = builder.sub(columns, rest)
            with cgutils.for_range_slice(builder, index(0), whole, two) as (j, _):
                add(j, 2 * LANES)
            with builder.if_then(builder.icmp_unsigned("!=", rest, index(0))):
                add(whole, LANES)
            return context.get_dummy_value()

        return signature, generate

    @intrinsic  # type: ignore[misc]
    def look_up(
        _context, currents, start, columns, curves, codes, starts, entries, shift, totals
    ):  # fmt: skip
        """Add codes x 2^shift of nonlinear converters to totals[start : start + columns].

        `codes` are those of a row tile, `starts` of a block; `entries` (columns,) is overwritten.
        """
        signature = types.void(
            currents, start, columns, curves, codes, starts, entries, shift, totals
        )

        def generate(context, builder, signature, arguments):
            def data(i):
                return make_array(signature.args[i])(context, builder, arguments[i]).data

            currents, codes, starts, entries, totals = map(data, (0, 4, 5, 6, 8))
            _, start, columns, curves, _, _, _, shift, _ = arguments
            shift, index = builder.trunc(shift, ir.IntType(32)), columns.type
            scale, origin, highest = (
                Lanes(builder, splat(builder, builder.extract_value(curves, i))) for i in (2, 3, 4)
            )
            whole = ir.VectorType(ir.IntType(32), LANES)
            zero = ir.Constant(highest.value.type, [0] * LANES)
            with cgutils.for_range_slice(builder, index(0), columns, index(LANES)) as (j, _):
                current = _load(builder, currents, builder.add(start, j))
                entry = ((current * scale).through("floor") - origin).value
                entry = builder.select(builder.fcmp_ordered(">", entry, zero), entry, zero)
                below = builder.fcmp_ordered("<", entry, highest.value)
                entry = builder.fptosi(builder.select(below, entry, highest.value), whole)
                entry = builder.add(entry, _load(builder, starts, j).value)
                builder.store(entry, lanes_at(builder, entries, j, whole.element), align=4)
            # Through memory: to take lanes out of a vector takes longer.
            with cgutils.for_range_slice(builder, index(0), columns, index(LANES)) as (j, _):
                found = ir.Constant(ir.VectorType(codes.type.pointee, LANES), ir.Undefined)
                for lane in range(LANES):
                    entry = builder.load(builder.gep(entries, [builder.add(j, index(lane))]))
                    code = builder.load(builder.gep(codes, [builder.zext(entry, index)]))
                    found = builder.insert_element(found, code, ir.Constant(whole.element, lane))
                target = lanes_at(builder, totals, builder.add(start, j), whole.element)
                count_codes(builder, builder.zext(found, whole), shift, target)
            return context.get_dummy_value()

        return signature, generate

else:

    def add_noise(currents, start, columns, spreads, sums, cell, own, low, high, numbers):  # type: ignore[misc]
        """Add whole steps of normal noise to currents[start : start + columns]."""
        place = slice(start, start + columns)
        if sums is not None:
            spreads = np.sqrt(cell * sums[place].astype(np.float64) + own).astype(np.float32)
        currents[place] += np.rint(spreads * normal(low, high, numbers))

    def look_up(currents, start, columns, curves, codes, starts, entries, shift, totals):  # type: ignore[misc]
        """Add codes x 2^shift of nonlinear converters to totals[start : start + columns]."""
        place = slice(start, start + columns)
        found = np.floor(currents[place] * curves.scale) - curves.origin
        entries[:] = found.clip(0, curves.highest).astype(np.int32) + starts
        totals[place] += codes[entries].astype(np.int32) << shift
