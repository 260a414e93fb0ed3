"""Sets the guest's clock and random numbers, which a clone has from the machine that it woke from."""
import binascii
import fcntl
import os
import struct
import time

RNDADDENTROPY = 0x40085203  # random(4)
RNDRESEEDCRNG = 0x5207
# Seconds of difference to ignore.
NEAR = 0.5


def set_clock(seconds):
    """Sets the clock to the host's time, in seconds after the epoch."""
    if abs(time.time() - seconds) > NEAR:
        time.clock_settime(time.CLOCK_REALTIME, seconds)


def adjust(seconds):
    """Moves the clock by this many seconds; returns its time."""
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
    return time.time()


def reseed(seed):
    """Gives the kernel new randomness, in base64. Only the reseed makes it change the kernel's random numbers."""
    seed = binascii.a2b_base64(seed)
    fd = os.open("/dev/urandom", os.O_WRONLY)
    try:
        fcntl.ioctl(fd, RNDADDENTROPY, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
        fcntl.ioctl(fd, RNDRESEEDCRNG)
    except OSError:
        pass
    finally:
        os.close(fd)
