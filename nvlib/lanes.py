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
            if not isinstance(other, Lanes):
                other = Lanes(self.builder, ir.Constant(self.value.type, [other] * self.value.type.count))
            name = whole if isinstance(self.value.type.element, ir.IntType) else real
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

        def whole(self, rounding: str) -> Lanes:
            """Rounded by LLVM's function of that name."""
            kind = self.value.type
            name = f"llvm.{rounding}.v{kind.count}{kind.element.intrinsic_name}"
            function = cgutils.get_or_insert_function(
                self.builder.module, ir.FunctionType(kind, [kind]), name
            )
            return Lanes(self.builder, self.builder.call(function, [self.value]))

    @intrinsic  # type: ignore[misc]
    def add_noise(_context, currents, start, columns, spreads, low, high, numbers):
        """Add whole steps of normal noise to currents[start : start + columns].

        Column j has standard deviation spreads[j] and number numbers[j]; `low` and `high` are of
        the read.
        """
        signature = types.void(currents, start, columns, spreads, low, high, numbers)

        def generate(context, builder, signature, arguments):
            currents, spreads, numbers = (
                make_array(signature.args[i])(context, builder, arguments[i]).data
                for i in (0, 3, 6)
            )
            _, start, columns, _, low, high, _ = arguments
            index, kind = columns.type, currents.type.pointee

            def add(j, lanes):
                """To the currents of so many columns from j on."""

                def load(array, place):
                    pointer = lanes_at(builder, array, place, array.type.pointee, lanes)
                    return Lanes(builder, builder.load(pointer, align=4))

                halves = (Lanes(builder, splat(builder, half, lanes)) for half in (low, high))
                noise = (normal(*halves, load(numbers, j)) * load(spreads, j)).whole("rint")
                place = builder.add(start, j)
                if kind == ir.DoubleType():
                    wide = ir.VectorType(kind, lanes)
                    noise = Lanes(builder, builder.fpext(noise.value, wide))
                noisy = load(currents, place) + noise
                target = lanes_at(builder, currents, place, kind, lanes)
                builder.store(noisy.value, target, align=4)

            two = index(2 * LANES)  # chains of operations, side by side
            rest = builder.urem(columns, two)
            pairs = builder.sub(columns, rest)
            with cgutils.for_range_slice(builder, index(0), pairs, two) as (j, _):
                add(j, 2 * LANES)
            with builder.if_then(builder.icmp_unsigned("!=", rest, index(0))):
                add(pairs, LANES)
            return context.get_dummy_value()

        return signature, generate

    @intrinsic  # type: ignore[misc]
    def look_up(
        _context, currents, start, columns, curves, codes, starts, entries, shift, totals
    ):  # fmt: skip
        """Add codes x 2^shift of nonlinear converters to totals[start : start + columns]."""
        signature = types.void(
            currents, start, columns, curves, codes, starts, entries, shift, totals
        )

        def generate(context, builder, signature, arguments):
            currents, codes, starts, entries, totals = (
                make_array(signature.args[i])(context, builder, arguments[i]).data
                for i in (0, 4, 5, 6, 8)
            )
            _, start, columns, curves, _, _, _, shift, _ = arguments
            shift, index = builder.trunc(shift, ir.IntType(32)), columns.type
            scale, origin, highest = (
                Lanes(builder, splat(builder, builder.extract_value(curves, i))) for i in (2, 3, 4)
            )
            whole, kind = ir.VectorType(ir.IntType(32), LANES), currents.type.pointee
            zero = ir.Constant(ir.VectorType(kind, LANES), [0] * LANES)
            with cgutils.for_range_slice(builder, index(0), columns, index(LANES)) as (j, _):
                current = builder.load(lanes_at(builder, currents, builder.add(start, j), kind), align=4)
                entry = ((Lanes(builder, current) * scale).whole("floor") - origin).value
                entry = builder.select(builder.fcmp_ordered(">", entry, zero), entry, zero)
                low = builder.fcmp_ordered("<", entry, highest.value)
                entry = builder.fptosi(builder.select(low, entry, highest.value), whole)
                first = builder.load(lanes_at(builder, starts, j, whole.element), align=4)
                target = lanes_at(builder, entries, j, whole.element)
                builder.store(builder.add(entry, first), target, align=4)
            # Through memory, for to take lanes out of a vector takes longer.
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

    def add_noise(currents, start, columns, spreads, low, high, numbers):  # type: ignore[misc]
        """Add whole steps of normal noise to currents[start : start + columns]."""
        draws = normal(low, high, numbers[:columns])
        currents[start : start + columns] += np.rint(spreads[:columns] * draws)

    def look_up(currents, start, columns, curves, codes, starts, entries, shift, totals):  # type: ignore[misc]
        """Add codes x 2^shift of nonlinear converters to totals[start : start + columns]."""
        own = slice(start, start + columns)
        places = np.floor(currents[own] * curves.scale) - curves.origin
        places = places.clip(0, curves.highest).astype(np.int32) + starts
        totals[own] += codes[places].astype(np.int32) << shift
