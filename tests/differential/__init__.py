"""Differential tests: one generator of random problems, every way to compute the same thing.

- `problems`: what a problem is, and its arrays; `strategies`: the generator.
- `bounded`: arrays with a bound on their error; `truth`, `functions`, `training`: the expected results in them.
- `ways`: one file per way to compute a problem; `workers`: the processes they run in.
- `compare`: an answer against the expected results; `run`: the driver and the command line.
"""
