"""`python -m vaegan.report`: what the runs in a folder add up to, as tables, figures and a page.

python -m vaegan.report outputs/paper
"""

import argparse
import sys
from pathlib import Path

from vaegan.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m vaegan.report",
        description="Write what the runs in a folder add up to: report.html, report.md, figures, runs.csv, runs.parquet.",
    )
    parser.add_argument(
        "folder", type=Path, help="a sweep's folder, such as outputs/paper, or any folder with runs in it"
    )
    parser.add_argument("--out", type=Path, help="where the report goes (default: FOLDER/report)")
    arguments = parser.parse_args()
    try:
        report(arguments.folder, arguments.out or arguments.folder / "report")
    except UserError as error:
        print(f"vaegan: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"vaegan: {error.filename} cannot be written ({error.strerror}); choose another --out.", file=sys.stderr)
        sys.exit(2)


def report(source: Path, folder: Path) -> None:
    """Write the report of the runs in `source` into `folder`, then say on the screen what it says.

    Raises:
        UserError: there are no runs.
    """
    from vaegan.reporting.collect import collect

    runs = collect(source)
    # matplotlib takes a second to import, so a wrong folder is answered before.
    from rich.console import Console

    from vaegan.reporting import page

    console = Console(highlight=False, soft_wrap=True)
    with console.status("drawing") as status:
        files = page.write(runs, source, folder, lambda name: status.update(f"drawing {name}"))
    for line in page.headline(runs):
        console.print(line, markup=False)
    console.print(f"\nreport      {files[0]}", markup=False)
    for path in files[1:]:
        console.print(f"            {path}", markup=False)


if __name__ == "__main__":
    main()
