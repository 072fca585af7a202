"""What is reached through a browser or by HTTP. No tensors here: pages ask the floors below."""
