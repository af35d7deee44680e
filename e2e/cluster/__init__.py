"""A kind cluster on any Linux machine, also on one that reaches no image registry.

Read in this order: `pins` says what is needed in which version, `tools` gets the programs, `engine` a container engine,
`nodeimage` and `images` the images, `kindcluster` and `daprinstall` the cluster; `cli` strings them together. `apiserver` and
`daprlocal` start parts alone, for tests. Where a registry answers, everything from `engine` to `images` shrinks to a download.

Nothing here imports anything beyond Python's standard library: it has to run before there is a virtual environment.
"""
