"""Labels: from files beside the images, from tables of attributes, from several data sets at once."""
