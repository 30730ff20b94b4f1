"""The page for a browser (``web.address``): the state of the node, read-only.

- `plugin`: the plugin
- `site`: the pages that there are, and the facts that each needs
- `reading`: answers of the placement API, kept for a moment, so that a reader costs the node little
- `content`: the HTML of each page; no I/O
- `document`: the one static file around the content, with its style, its script and their policy
"""
