"""Management: what a node tells of itself, and what it can be told to do.

Owns:      the app, its routes and answers, who may ask.
Elsewhere: the process it runs in (service/control_process.py); metrics (observe/); the commands (cli/).
"""
