"""A dataflow as a picture: Mermaid, DOT, SVG or HTML, with live numbers if it runs."""
