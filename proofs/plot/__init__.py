"""Draw figures over time as SVG: values in, the text of an image out; no script, nothing from elsewhere.

`draw` (in `draw.py`) takes a panel of `panels.py`. An image reads without colours: lines differ by dash and
marker, limits have a label, a kept or broken limit has a sign. It is white, and fit for paper.
"""
