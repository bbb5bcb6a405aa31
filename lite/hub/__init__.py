"""Fetching models from the Hugging Face hub, into the cache that its own tools and many others share.

Our own code, as what is asked for here is what `huggingface_hub` (looked at in 2.4) does not do: go on with a download
that another process began, compare the SHA-256 of what came, and refuse where the disk has no room; and it asks the
hub for more than the files. So only the layout of the cache is taken over; a test reads ours with that library.
"""
