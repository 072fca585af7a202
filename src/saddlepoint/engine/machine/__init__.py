"""What the machine gives: devices and random numbers, threads, precision, several processes."""
