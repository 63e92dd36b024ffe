"""Networks for other programs: ONNX, `torch.export`, safetensors, `.pth`; each file is checked."""
