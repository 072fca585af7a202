"""Series: from a table to windows, and from windows back to a table."""
