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
        UserError: there is no folder, or nothing in it.
        OSError: a file cannot be written.
    """
    found = inspect_tree(config.path, config.series, config.workers, config.progress)
    console = Console()
    print_inspection(found, console)
    if config.manifest is not None:
        manifest = Path(config.manifest)
        manifest.parent.mkdir(parents=True, exist_ok=True)
        write_manifest(manifest, found.index.slices, found.index.rejections)
        console.print(Text(f"manifest: {manifest}"), soft_wrap=True)
    if config.output is not None and found.series:
        save_contact_sheet(found, Path(config.output))
        console.print(Text(f"contact sheet: {config.output}"), soft_wrap=True)
