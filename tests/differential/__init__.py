"""Differential tests: compute random problems in every way and compare the results.

- `problems`: the description of a problem and its arrays; `strategies`: the generator.
- `bounded`: arrays with error bounds; `truth`, `functions`, `training`: the expected results as such arrays.
- `ways`: one file per kind of way to compute a problem; `workers`: the processes of the ways.
- `compare`: the comparison with the expected results; `run`: the driver and the command line.
"""
