"""Goals of robots: what an action server does, whatever carries it."""
