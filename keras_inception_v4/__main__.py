"""`python -m keras_inception_v4` is the command `keras-inception-v4`."""

import sys

from keras_inception_v4.cli import main

if __name__ == "__main__":
    sys.exit(main())
