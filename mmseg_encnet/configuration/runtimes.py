"""Names of what can compute a network at inference; :mod:`mmseg_encnet.runtimes` describes them."""

RUNTIMES = ('torch', 'onnxruntime', 'openvino')
PRECISIONS = ('float32', 'bfloat16')
