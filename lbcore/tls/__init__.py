"""TLS as the control plane sees it: files in, checked, and as bundles to the workers. Imported only where TLS is wanted."""
