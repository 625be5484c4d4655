#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Draws the ratios that `script/bench state` or `migrate` prints (from standard input) as an SVG on standard output.

One bar per row with a target: how many times the peer's figure, with the target as a mark.
"""
import re
import sys
from xml.sax.saxutils import escape

ROW = re.compile(r"^(.{44}) +([\d.]+) +([\d.]+) +([\d.]+) +([<>]=) ([\d.]+) (PASS|MISSED)$")
LEFT, WIDE, STEP, TOP = 330, 360, 30, 50


def main():
    rows = [m.groups() for m in map(ROW.match, sys.stdin.read().splitlines()) if m]
    if not rows:
        sys.exit("no row with a target on standard input")
    scale = WIDE / max(max(float(r[3]), float(r[5])) for r in rows) / 1.05
    height = TOP + STEP * len(rows) + 30
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDE + 90}" height="{height}" '
        'font-family="sans-serif" font-size="13">'
    )
    print('<rect width="100%" height="100%" fill="white"/>')
    print('<text x="12" y="24" font-size="15">shieldvm against its peer (ratio; the line is the target)</text>')
    for i, (what, _, _, ratio, sense, target, verdict) in enumerate(rows):
        y = TOP + STEP * i
        wide, mark = float(ratio) * scale, LEFT + float(target) * scale
        fill = "#4a7ba6" if verdict == "PASS" else "#b5523b"
        print(f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(what.strip())}</text>')
        print(f'<rect x="{LEFT}" y="{y}" width="{wide:.1f}" height="20" fill="{fill}"/>')
        print(f'<line x1="{mark:.1f}" x2="{mark:.1f}" y1="{y - 3}" y2="{y + 23}" stroke="black" stroke-width="2"/>')
        print(
            f'<text x="{max(LEFT + wide, mark) + 6:.1f}" y="{y + 15}">{ratio} '
            f"({escape(sense)} {target})</text>"
        )
    one = LEFT + scale
    print(
        f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{TOP - 8}" y2="{height - 25}" stroke="#888" stroke-dasharray="3 3"/>'
    )
    print(f'<text x="{one:.1f}" y="{height - 10}" text-anchor="middle" fill="#666">1.0: as the peer</text>')
    print("</svg>")


if __name__ == "__main__":
    main()
