"""Results as rich tables."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from esc_sr.evaluation import SetResult

_HEADINGS = {
    "psnr_y": ("PSNR-Y (dB)", ".3f"),
    "ssim_y": ("SSIM-Y", ".4f"),
    "psnr_rgb": ("PSNR-RGB (dB)", ".3f"),
    "ssim_rgb": ("SSIM-RGB", ".4f"),
}


def quality_table(results: Mapping[str, Mapping[str, SetResult]]) -> Table:
    """Lay out results by network and set.

    Args:
        results: By network name, by set, what was measured.

    Returns:
        A table with one row for each network and set.
    """
    names = list(
        dict.fromkeys(
            name for sets in results.values() for result in sets.values() for name in result.values
        )
    )
    table = Table("set", "network", *(_HEADINGS.get(name, (name, ""))[0] for name in names))
    table.add_column("images", justify="right")
    table.add_column("seconds", justify="right")
    for column in table.columns[2:]:
        column.justify = "right"
    set_names = dict.fromkeys(name for sets in results.values() for name in sets)
    for set_name in set_names:
        for network, sets in results.items():
            result = sets[set_name]
            means = result.means()
            cells = [format(means[name], _HEADINGS.get(name, ("", ".4g"))[1]) for name in names]
            table.add_row(
                set_name, network, *cells, str(len(result.images)), f"{result.seconds:.1f}"
            )
        table.add_section()
    return table
