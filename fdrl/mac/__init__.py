"""Multiple-access uplinks: agents share one channel, digitally or by adding up in the air.

After Ahn, Simeone and Kang (2019, arXiv 1907.02745; 2020, 2002.01337). What their abstracts and
introductions do not settle is marked [choice].
"""
