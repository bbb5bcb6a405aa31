"""One HTML file that shows what an evaluation found, a picture and a table of it."""
