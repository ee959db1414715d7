"""Results of stages in the cache folder: their keys, their files, and who may write them."""
