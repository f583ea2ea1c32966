"""The admin server: registration, heartbeats, status and operators' calls over HTTP. Loaded only where it is asked for."""
