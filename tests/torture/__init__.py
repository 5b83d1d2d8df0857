"""The harness: build a small corpus over and over, do it harm, and look at what is left.

`ground` holds what is built, `truth` what it must become, `launch` runs the command line in forked
processes, `strikes` harms them at a chosen write, `judge` says what a folder may look like then.
On these stand the campaigns: `kills`, `crowds`, `rot`, `storm`, `machine`, `cost`; `sabotage`
proves them. The tests run a sample of each, `make torture` (`python -m torture`) all of them.
"""
