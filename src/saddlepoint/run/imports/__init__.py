"""Weights of others as a run: files read by an allow-list, without running their code, and put into a family's place.

`machine`, `pickles` and `archives` read, `published` says what networks of StyleGAN2 hold, `ada` and `ports` find it
under the names that others gave it, `as_stylegan` puts it into our networks, `importing` writes the folder.
"""
