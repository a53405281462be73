"""Objects under keys, in a folder or a bucket. Contract: `remote.contract`; from a URL: `remote.open`."""
