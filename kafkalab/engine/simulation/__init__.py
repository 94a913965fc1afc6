"""The whole cluster from a seed: the nodes' own code on virtual time, with a network and disks in memory.

Nothing here asks the machine for time, chance or order: a run is a function of its seed.
"""
