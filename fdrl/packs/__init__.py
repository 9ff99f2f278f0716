"""Packs: several runs that differ in their seed alone, trained as one batched program.

`members` are runs as threads of which one runs at a time, `view` is what a member's federation
takes for its cohort, `stack` is the one big cohort behind the views, `train` starts it all and
decides which calls run when. Small federations spend their time between NumPy calls, not in them:
a stack of fifty costs hardly more than one.
"""
