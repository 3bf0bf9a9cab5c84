"""Whether Muster's scoring variants read answers as the toolkits' own code does."""
