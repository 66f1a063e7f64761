"""Sign and no-sign gradient attacks on image classifiers, and the experiment that compares them."""
