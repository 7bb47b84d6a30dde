"""Studies: cells, trials, proposals of weights, their evaluation and the record of them."""
