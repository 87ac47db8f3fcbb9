"""The embedded renderer, in the order in which a page passes through it.

`source` joins a page's cells into one Markdown text, `pandoc` reads it, `survey` checks the tree and numbers it,
`references` and `katex` make texts for references, citations and formulas, `compose` turns what is Quarto's in the
tree into HTML, `pandoc` writes it, `links` checks the finished HTML, `template` puts the page around it, `search` indexes the
site, and `offline` packs it into one archive. `tools/render.py` calls them.
"""
