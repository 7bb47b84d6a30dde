"""What a person launches: the command line, batch scripts for sites, and the shipped study files.

``cli`` is the entry point and ``commands`` holds one file per command; ``run`` is the main job,
with ``workers`` and ``signals`` around it; ``batch`` writes and submits scripts; ``terminal``
prints. Nothing else in the package imports from here.
"""
