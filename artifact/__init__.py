"""The paper's artifact: data, trained networks, studies, claims, figures, runner and report.

It imports `nvlib`, the simulator, and never the other way round.
"""
