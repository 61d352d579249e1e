"""How arrays are read: `reference` line by line, `kernel` fast, to the same bits.

`layout` brings the cells of a layer into the form that `kernel` adds up, with the loops of
`compiled`; `noise` is what both readers draw; `chain` reads several layers in one go. `Chip` alone
uses this.
"""
