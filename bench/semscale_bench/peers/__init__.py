"""Other tools at the same work: an environment for each that needs one, a process for each, and what they make of it.

`worker` and the modules of the tools run in those processes, by whatever interpreter has the tool; they import nothing
of semscale (but `ours`, which is semscale itself as a contestant), and nothing of this package but `job`.
"""
