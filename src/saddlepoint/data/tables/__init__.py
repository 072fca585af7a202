"""Tables: files opened, times, series and roles of columns recognised; each decision a finding or a question."""
