"""``python -m fdrl`` is the command ``fdrl``."""

import sys

from fdrl.cli import main
from fdrl.core.paths import current_folder

if __name__ == "__main__":
    # Python puts the current folder first here; as for the command, it comes behind the others.
    if not sys.flags.safe_path and sys.path[0] == current_folder():
        del sys.path[0]
    sys.exit(main())
