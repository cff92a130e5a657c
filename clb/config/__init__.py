"""One YAML file to frozen models, with every fault at its place.

Owns:      reading, checking and typing the configuration file.
Elsewhere: the files it points to (service/materials.py), the running service (service/).
"""
