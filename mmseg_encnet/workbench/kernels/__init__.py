"""What the Triton kernels compile to and what they should cost, without a GPU."""

# What is compiled by default: dtypes of the features, by their names in PyTorch, and numbers of
# codewords.
DTYPE_NAMES = ('float32', 'bfloat16', 'float16')
CODES = (16, 32, 64, 128)
