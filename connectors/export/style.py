"""The page around a report: A4, black on white, figures that no page break cuts."""

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
@page {{ size: A4; margin: 14mm 16mm 16mm }}
body {{ font: 10pt/1.35 "DejaVu Sans", sans-serif; color: #111; margin: 0 auto; max-width: 178mm }}
h1 {{ font-size: 16pt; margin: 0 0 2mm }} h2 {{ font-size: 12pt; margin: 6mm 0 2mm; break-after: avoid }}
table {{ border-collapse: collapse; width: 100%; font-size: 8pt }} tr {{ break-inside: avoid }}
th, td {{ text-align: left; padding: .8mm 2mm .8mm 0; border-bottom: .2mm solid #999 }}
figure {{ margin: 0 0 4mm; break-inside: avoid }} figcaption {{ font-weight: bold; font-size: 9pt }}
svg {{ display: block }} .line {{ fill: none; stroke: #000; stroke-width: .25; stroke-linejoin: round }}
.frame {{ fill: none; stroke: #666; stroke-width: .2 }} .mark {{ stroke: #000; stroke-width: .5 }}
.axis {{ font-size: 2.6px; fill: #333 }} .lead, .none {{ margin: 0; font-size: 8pt; color: #333 }}
* {{ -webkit-print-color-adjust: exact; print-color-adjust: exact }}
</style>
<svg width="0" height="0"><defs>
<pattern id="mm" width="1" height="1" patternUnits="userSpaceOnUse">
<path d="M1 0H0V1" fill="none" stroke="#f3c4c4" stroke-width=".1"/></pattern>
<pattern id="paper" width="5" height="5" patternUnits="userSpaceOnUse">
<rect width="5" height="5" fill="url(#mm)"/>
<path d="M5 0H0V5" fill="none" stroke="#e08a8a" stroke-width=".2"/></pattern>
</defs></svg>
{body}
</html>
"""
