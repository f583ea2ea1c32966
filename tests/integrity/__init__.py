"""The integrity suite: every datapath over the same scenarios, every byte looked at, the ledger checked after each."""
