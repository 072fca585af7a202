"""What the machine gives: devices and random numbers, threads, precision, compiled networks, several processes."""
