"""Speed and memory of qnode beside its peers, measured in one run; see README.md."""
