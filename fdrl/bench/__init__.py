"""Benchmarks: methods x settings x seeds under equal budgets, run over all cores, resumable.

`suite` says what is compared, `grid` turns it into cells (one `Run` and one run folder each),
`scheduler` runs them in worker processes, `audit` re-checks what they left behind.
"""
