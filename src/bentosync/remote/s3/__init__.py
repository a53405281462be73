"""A bucket as a remote: signed requests on our own wire; botocore only finds credentials."""
