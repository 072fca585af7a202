"""What a trained generator gives: latent space, seeds, sheets, pictures, translations."""
