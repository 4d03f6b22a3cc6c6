"""From an `InspectConfig` to tables, a contact sheet and a manifest."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from gnclightning.config import InspectConfig
from gnclightning.data.dicom.inspection import inspect_tree
from gnclightning.data.dicom.manifest import write_manifest
from gnclightning.data.dicom.report import print_inspection, save_contact_sheet


def run_inspection(config: InspectConfig) -> None:
    """Inspect as configured.

    Raises:
        UserError: there is no folder, or nothing in it that can be used; then the reasons have been
            printed, and are in the manifest.
        OSError: a file cannot be written.
    """
    found = inspect_tree(config.path, config.series, config.plane, config.workers, config.progress)
    # Files first: a reader of the tables, such as `head`, may leave before their end.
    written: list[str] = []
    if config.manifest is not None:
        manifest = Path(config.manifest)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        write_manifest(manifest, found.index.slices, found.index.rejections)
        written.append(f"manifest: {manifest}")
    if config.output is not None and found.series:
        save_contact_sheet(found, Path(config.output))
        written.append(f"contact sheet: {config.output}")
    console = Console()
    print_inspection(found, console)
    for line in written:
        console.print(Text(line), soft_wrap=True)
    if not found.series:
        raise found.index.nothing_usable(config.path, "give a folder with CT series")
