"""Time-conditional networks; they know no SDE."""

from gnclightning.networks.unet import UNet, UNetConfig

__all__ = ["UNet", "UNetConfig"]
