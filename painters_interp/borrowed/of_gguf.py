"""Private names of gguf: what `models.capacity` overrides in its reader, on itself alone."""

SEEN = "0.19.0"
NAMES = {
    "gguf.GGUFReader": {
        "_get": "a file that is cut short is read for ever otherwise",
        "_get_field_parts": "and an array that promises more than it has",
    },
}
