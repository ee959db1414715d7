"""A trained model in other forms: ONNX, a plain timm checkpoint, and the cards that describe it."""

from landsift.extras import needs

needs("onnx", "onnxruntime", "onnxscript", "pystac", "timm", "torch", extra="export", what="an export")
