"""Files that were valid until something changed them, for every reader of files."""

from __future__ import annotations

import os
import random

#: Inputs per reader; a long campaign sets more.
FUZZ = int(os.environ.get("NVLIB_FUZZ", "300"))


def mutated(generator, seed_content):
    """Random bytes, or a valid file with bytes changed, cut out, or put in."""
    if generator.random() < 0.2:
        return generator.randbytes(generator.randrange(80))
    content = bytearray(seed_content)
    for _ in range(generator.randrange(1, 6)):
        place = generator.randrange(len(content) + 1)
        kind = generator.randrange(3)
        if kind == 0 and place < len(content):
            content[place] = generator.randrange(256)
        elif kind == 1:
            del content[place : place + generator.randrange(1, 9)]
        else:
            content[place:place] = generator.randbytes(generator.randrange(1, 9))
    return bytes(content)


def fuzz(name, content, read, allowed):
    """Read changed files: each is read, or refused with a message, and some are refused."""
    generator = random.Random(name)
    refusals = []
    for _ in range(FUZZ):
        try:
            read(mutated(generator, content))
        except allowed as error:
            refusals.append(str(error))
    assert refusals
    assert all(refusals)
