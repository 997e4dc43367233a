"""Lines that nodes print, on their way to log files, the console and followers."""
