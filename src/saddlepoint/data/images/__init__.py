"""Images: decoded, brought to one shape, prepared once."""
