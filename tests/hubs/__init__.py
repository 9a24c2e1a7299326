"""Loopback hubs: small HTTP servers with the APIs of Hugging Face and ModelScope; they can misbehave."""
