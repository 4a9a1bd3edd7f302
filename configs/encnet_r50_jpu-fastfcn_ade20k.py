_base_ = './encnet_r50_jpu_ade20k.py'

# The network of FastFCN's checkpoints, whose head starts with a 1x1 convolution.
model = dict(decode_head=dict(bottleneck_kernel_size=1))
