"""Any torch network as steps, of which convolutions and linear layers go onto arrays.

`tracing` asks `tracer` for the graph, has `rewrites` bring it into that form, and compares it with
the network; `steps` is what comes out. Nothing here knows of codes, arrays or chips.
"""
