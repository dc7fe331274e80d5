"""The networks. Tensors are batch, channel, height, width; tokens are batch, token, channel."""
