"""Changes that make training crops harder: noise, babble, reverberation, microphones, speed."""
