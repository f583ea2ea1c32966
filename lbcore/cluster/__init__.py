"""Several balancers with one membership: rules (pure), and the thread that carries them between the members and a store."""
