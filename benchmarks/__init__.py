"""Measure clb beside nginx, HAProxy and Envoy on pinned cores: what scripts/bench runs.

Owns:      the peers' equivalent configurations, the load, the reading of CPU and memory, the tables.
Elsewhere: installing what is measured (scripts/bench); how to read the figures (docs/performance.md).
"""
