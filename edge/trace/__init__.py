"""Traces of decoding: one record a forward, as a file, as a live view in the terminal, as a picture.

record.py    the record, and files of records
observe.py   makes records while an engine decodes
live.py      the canvas filling up, in a terminal
picture.py   the canvas filling up, as a picture (and figure_grid.py, its middle)
"""
