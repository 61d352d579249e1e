"""One module a figure: a grid of points, and the function that computes one of them."""
