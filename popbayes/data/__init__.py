"""Tables in, arrays out: event tables, hand-written regimens and bundled studies (numpy and pandas only)."""
