"""What an evaluation tells people: verdicts, comparisons, the page."""
