"""Health of real servers: the check state machine and outlier ejection. Pure: no sockets, no clock.

The prober that does the I/O lives in service/. What a scheduler sees of health is `Candidate.available`
(balancing/candidate.py); this package decides its value.
"""
