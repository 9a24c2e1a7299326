"""What the campaign ``ipfs_fuzz`` feeds the readers of IPFS formats, and what must hold of the result."""
