"""One file per command: flags here, work in the layers below."""
