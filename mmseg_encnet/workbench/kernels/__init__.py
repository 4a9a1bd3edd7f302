"""What the Triton kernels compile to and what they should cost, without a GPU."""
