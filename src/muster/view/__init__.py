"""`muster view`: a folder of runs in a browser. It reads what the folders hold; there is no database."""
