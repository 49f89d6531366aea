"""What policies are worth, and what their caches cost and save."""
