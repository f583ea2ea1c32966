"""The backend's side of the admin server: registration and signed calls. Standard library only."""
