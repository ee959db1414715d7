"""From the bytes of an image file to pixels, or a reason why not."""
