"""How the page looks: light and dark, wide and narrow, on paper. Everything is in the page itself."""

from __future__ import annotations

LIGHT = {
    "page": "#f5f6f8",
    "card": "#ffffff",
    "text": "#1c2430",
    "soft": "#566174",
    "rule": "#d9dee6",
    "good": "#17663a",
    "good-back": "#e2f4e8",
    "warn": "#7a4d00",
    "warn-back": "#fdf0d2",
    "bad": "#a31621",
    "bad-back": "#fde4e4",
    "none": "#4d586b",
    "none-back": "#e9ecf1",
    "bar": "#3d6fb4",
    "hot": "#c2410c",
}
DARK = {
    "page": "#12161c",
    "card": "#1b212a",
    "text": "#e6eaf0",
    "soft": "#a3aebf",
    "rule": "#333c49",
    "good": "#8fdcab",
    "good-back": "#173425",
    "warn": "#f5cd79",
    "warn-back": "#3b2d0c",
    "bad": "#ffaaa8",
    "bad-back": "#471a1e",
    "none": "#b7c1d0",
    "none-back": "#2a323e",
    "bar": "#7aa7e8",
    "hot": "#ff9a5c",
}


def _variables(palette: dict[str, str]) -> str:
    return " ".join(f"--{name}: {colour};" for name, colour in palette.items())


def css() -> str:
    """The style sheet."""
    return _SHEET.replace("LIGHT", _variables(LIGHT)).replace("DARK", _variables(DARK))


_SHEET = """
:root { color-scheme: light dark; LIGHT }
@media (prefers-color-scheme: dark) { :root { DARK } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main, header, footer { max-width: 1360px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 32px; }
footer { padding-bottom: 32px; color: var(--soft); font-size: 13px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 36px 0 12px; }
h3 { font-size: 16px; margin: 0 0 12px; overflow-wrap: anywhere; }
h4 { font-size: 13px; margin: 0 0 8px; color: var(--soft); font-weight: 600; }
p { margin: 0 0 8px; }
.soft { color: var(--soft); }
.small { font-size: 13px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 20px;
  margin-bottom: 16px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 20px 0 0; padding: 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px;
  border-left: 5px solid var(--rule); color: var(--soft); font-size: 13px; }
.tiles b { display: block; font-size: 24px; line-height: 1.25; color: var(--text);
  font-variant-numeric: tabular-nums; font-weight: 650; }
.tiles .good { border-left-color: var(--good); } .tiles .warn { border-left-color: var(--warn); }
.tiles .bad { border-left-color: var(--bad); }
.todo { list-style: none; margin: 0; padding: 0; }
.todo li { padding: 10px 0; border-top: 1px solid var(--rule); display: grid;
  grid-template-columns: 116px minmax(0, 1fr); gap: 4px 16px; overflow-wrap: anywhere; }
.todo li:first-child { border-top: 0; padding-top: 0; } .todo li:last-child { padding-bottom: 0; }
.todo .what > * { display: block; }
.pill { display: inline-block; justify-self: start; align-self: start; border-radius: 99px; padding: 1px 10px;
  font-size: 13px; font-weight: 600; white-space: nowrap; }
.pill.good { background: var(--good-back); color: var(--good); }
.pill.warn { background: var(--warn-back); color: var(--warn); }
.pill.bad { background: var(--bad-back); color: var(--bad); }
.pill.none { background: var(--none-back); color: var(--none); }
table { border-collapse: collapse; width: 100%; background: var(--card); }
.framed { border: 1px solid var(--rule); border-radius: 10px; overflow: hidden; background: var(--card); }
th, td { text-align: left; vertical-align: top; padding: 10px 14px; overflow-wrap: anywhere; }
thead th { font-size: 13px; color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--rule);
  overflow-wrap: normal; }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tbody th { font-weight: 600; min-width: 120px; max-width: 360px; }
td small, th small, h3 small { display: block; color: var(--soft); font-size: 13px; font-weight: 400; }
td.number, td.short { font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
svg.nights { width: 140px; max-width: 100%; height: 28px; display: block; }
svg.growth { width: 100%; height: 120px; display: block; }
.bar { fill: var(--bar); } .bar.hot { fill: var(--hot); } .bar.first { fill: var(--soft); opacity: .6; }
.axis { stroke: var(--rule); stroke-width: 1; vector-effect: non-scaling-stroke; }
.area { fill: var(--bar); opacity: .18; }
.curve { fill: none; stroke: var(--bar); stroke-width: 2; vector-effect: non-scaling-stroke; }
.span { display: flex; justify-content: space-between; gap: 12px; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 14px 24px;
  margin: 0 0 20px; }
.facts div { min-width: 0; } .facts dt { color: var(--soft); font-size: 13px; }
.facts dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.facts .wide { grid-column: span 2; }
.facts .wide dd { font-weight: 400; }
.lines { margin: 0; padding-left: 18px; } .lines li { overflow-wrap: anywhere; }
@media screen and (max-width: 1140px) {
  main, header, footer { padding-left: 16px; padding-right: 16px; }
  .card { padding: 16px; }
  .todo li { grid-template-columns: minmax(0, 1fr); }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(min(45%, 150px), 1fr)); }
  .framed { border: 0; background: none; border-radius: 0; overflow: visible; }
  table, tr, td, tbody th { display: block; width: auto; min-width: 0; }
  tbody { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 12px; }
  table { background: none; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  tbody tr { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
    padding: 12px 16px; }
  tbody tr + tr > * { border-top: 0; }
  th, td { padding: 4px 0; }
  tbody th { font-size: 16px; }
  td { display: grid; grid-template-columns: 104px minmax(0, 1fr); gap: 12px; }
  td::before { content: attr(data-label); color: var(--soft); font-size: 13px; }
  td:empty { display: none; }
  td.number, td.short { white-space: normal; }
  tbody th { max-width: none; }
}
@media print {
  @page { size: A4 landscape; margin: 12mm; }
  :root { color-scheme: light; LIGHT --page: #fff; }
  body { font-size: 11px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main, header, footer { max-width: none; padding: 0; }
  header { padding-top: 0; }
  h2 { break-after: avoid; margin-top: 20px; }
  tr, .tiles li, .todo li, svg, .facts, .repository { break-inside: avoid; }
  td small, th small, h3 small, h4, thead th, dt, .pill, .tiles li, .small, footer { font-size: 10px; }
  footer { margin-top: 16px; }
  .framed { overflow: visible; border-radius: 0; }
  thead { display: table-header-group; }
  th, td { padding: 5px 8px; }
}
"""
