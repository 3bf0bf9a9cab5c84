"""Which frames Muster shows of a video, beside what others and a player show, for files of every odd kind."""
