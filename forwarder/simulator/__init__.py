"""A Bitbucket Data Center with Soteri installed, that plays its part."""
