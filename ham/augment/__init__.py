"""Training crops made harder: noise, babble, reverberation, channels, speed."""
