"""The 2D experiment of arXiv 2404.18699, Section 4.1 and Fig. 1; see docs/toy2d.md."""
