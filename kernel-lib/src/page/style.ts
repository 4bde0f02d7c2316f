/**
 * The one style sheet of every page we write: reports, rendered notebooks, the index.
 *
 * System fonts only (nothing is loaded), colours as custom properties with a light and a dark set, one column that
 * works at 320 px, wide tables scroll inside their own box. Class names used by page bodies are listed in page.ts.
 */

/** CSS text of the shared style sheet. */
export const PAGE_CSS: string = `
:root { color-scheme: light dark; --ink:#1b2330; --soft:#5a6676; --paper:#fdfdfc; --card:#f4f5f6; --line:#d9dde2;
  --link:#0b5cad; --good:#116b3c; --good-bg:#e3f4ea; --bad:#a3231f; --bad-bg:#fbe7e5; --warn:#7a5200; --warn-bg:#fdf1d8; --accent:#3b6fb6; --edge:rgb(27 35 48 / 28%); }
@media (prefers-color-scheme: dark) { :root { --ink:#e4e8ee; --soft:#9aa6b5; --paper:#14181e; --card:#1d232b; --line:#333c47;
  --link:#7db4f0; --good:#7fd7a4; --good-bg:#17351f; --bad:#f3a09b; --bad-bg:#40201e; --warn:#ecc675; --warn-bg:#3a2e14; --accent:#7db4f0; --edge:rgb(0 0 0 / 85%); } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin:0; background:var(--paper); color:var(--ink); font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.25rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size:1.7rem; line-height:1.2; margin:.5rem 0 .75rem; } h2 { font-size:1.3rem; margin:2rem 0 .5rem; padding-top:.5rem; border-top:1px solid var(--line); }
h3 { font-size:1.08rem; margin:1.4rem 0 .4rem; } p, ul, ol { margin:.5rem 0 .8rem; } a { color:var(--link); }
code, pre, kbd { font-family: ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace; font-size:.875em; }
code { background:var(--card); padding:.1em .3em; border-radius:4px; } pre { background:var(--card); padding:.75rem; border-radius:6px; overflow-x:auto; line-height:1.4; overflow-wrap:normal; margin:.5rem 0; }
pre code { background:none; padding:0; } blockquote { margin:.5rem 0; padding:.1rem .9rem; border-left:3px solid var(--line); color:var(--soft); }
figure { margin:1.25rem 0; } figcaption { color:var(--soft); font-size:.9rem; margin-top:.25rem; } img, svg { max-width:100%; height:auto; }
.scroll { overflow-x:auto; margin:.75rem 0; background:linear-gradient(to right,var(--paper) 30%,transparent) left/3rem 100% no-repeat local,linear-gradient(to left,var(--paper) 30%,transparent) right/3rem 100% no-repeat local,linear-gradient(to right,var(--edge),transparent) left/1rem 100% no-repeat scroll,linear-gradient(to left,var(--edge),transparent) right/1rem 100% no-repeat scroll; } table { border-collapse:collapse; font-size:.9rem; font-variant-numeric:tabular-nums; overflow-wrap:normal; }
th, td { padding:.3rem .6rem; border-bottom:1px solid var(--line); text-align:left; vertical-align:top; } th { font-weight:600; vertical-align:bottom; overflow-wrap:normal; }
td small { color:var(--soft); font-size:.86em; white-space:nowrap; } td.sentence { min-width:13rem; } td.name { white-space:nowrap; } tr.group th { padding-top:.8rem; color:var(--soft); } tr.group span { position:sticky; left:.6rem; display:inline-block; max-width:min(60rem,82vw); } p.caption { color:var(--soft); font-size:.9rem; margin:1rem 0 -.4rem; }
td.number, th.number { text-align:right; } caption { text-align:left; color:var(--soft); padding-bottom:.3rem; }
.soft { color:var(--soft); } .lead { font-size:1.08rem; }
.badge { display:inline-block; padding:.05rem .5rem; border-radius:999px; font-size:.82rem; font-weight:600; white-space:nowrap; background:var(--card); color:var(--soft); }
.badge.good { background:var(--good-bg); color:var(--good); } .badge.bad { background:var(--bad-bg); color:var(--bad); } .badge.warn { background:var(--warn-bg); color:var(--warn); }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(11rem,1fr)); gap:.75rem; margin:1rem 0; } .card { background:var(--card); border-radius:8px; padding:.7rem .9rem; }
.card .value { display:block; font-size:1.35rem; font-weight:650; font-variant-numeric:tabular-nums; } .card .label { color:var(--soft); font-size:.85rem; }
.note { border-left:3px solid var(--warn); background:var(--warn-bg); padding:.5rem .8rem; border-radius:0 6px 6px 0; margin:.8rem 0; }
.error { border-left:3px solid var(--bad); background:var(--bad-bg); padding:.5rem .8rem; border-radius:0 6px 6px 0; margin:.8rem 0; } .error pre { background:none; padding:.3rem 0 0; }
.plot { width:100%; min-height:260px; } .plot > .missing { color:var(--soft); font-size:.9rem; }
details > summary { cursor:pointer; color:var(--soft); font-size:.85rem; } .cell { margin:.9rem 0; } .output { margin:.4rem 0 .4rem; } .stderr { border-left:3px solid var(--warn); }
a.anchor { margin-left:.4em; color:var(--soft); text-decoration:none; font-weight:400; opacity:0; } h2:hover a.anchor, h3:hover a.anchor, a.anchor:focus { opacity:1; }
.contents { background:var(--card); border-radius:8px; padding:.5rem .9rem; margin:1rem 0; font-size:.9rem; } .contents ol { margin:.4rem 0; padding-left:1.4rem; columns:18rem; column-gap:2.6rem; } .contents li { break-inside:avoid; }
footer { margin-top:3rem; padding-top:.75rem; border-top:1px solid var(--line); color:var(--soft); font-size:.85rem; }
@media (max-width: 40rem) { main { padding:.75rem .75rem 3rem; } h1 { font-size:1.4rem; } table { font-size:.82rem; } }
@media (pointer: coarse) { .plot, .plot * { touch-action:pan-x pan-y pinch-zoom !important; } a.anchor { opacity:.6; } }
@page { margin:12mm; }
@media print { :root { color-scheme:light; --ink:#1b2330; --soft:#5a6676; --paper:#fff; --card:#f4f5f6; --line:#d9dde2; --link:#0b5cad; --good:#116b3c; --good-bg:#e3f4ea; --bad:#a3231f; --bad-bg:#fbe7e5; --warn:#7a5200; --warn-bg:#fdf1d8; --accent:#3b6fb6; }
  html { font-size:9pt; } body { font-size:1rem; line-height:1.4; } h2 { margin-top:1.2rem; } h3 { margin-top:.9rem; } p, ul, ol { margin:.35rem 0 .5rem; } figure { margin:.8rem 0; } .scroll { margin:.5rem 0; }
  main { max-width:none; padding:0; } details[open] > summary, a.anchor, .modebar-container { display:none; }
  figure.screen .plot { display:none; } figure.screen figcaption::after { content:" Drawn on the page on screen."; }
  details:not([open]) > summary::after { content:": folded here, the page on screen has it"; }
  .scroll, pre { overflow:visible; background-image:none; } pre { white-space:pre-wrap; overflow-wrap:anywhere; } table { font-size:7.5pt; line-height:1.3; width:100%; } th, td { padding:.15rem .35rem; overflow-wrap:break-word; }
  td.number { overflow-wrap:normal; } td small { white-space:normal; } td br:has(+ small) { display:none; } td small::before { content:" "; } .badge { white-space:normal; padding:0 .3rem; border-radius:.3rem; } th, td.name { white-space:normal; overflow-wrap:break-word; } td.sentence { min-width:0; } tr.group span { position:static; max-width:none; } thead { display:table-header-group; } tr, img, figure, .plot, .card, .note, .error { break-inside:avoid; } h1, h2, h3, :is(h2, h3) + p, summary, caption, p.caption { break-after:avoid; } .cell:has(.plot, img) { break-inside:avoid; }
  table:has(tr > :nth-child(9)) { font-size:6.2pt; } table:has(tr > :nth-child(13)) { font-size:5.2pt; } table:has(tr > :nth-child(13)) :is(th, td) { overflow-wrap:anywhere; }
  .plot { height:auto !important; min-height:0; } .plot .plot-container, .plot .svg-container { width:100% !important; height:auto !important; aspect-ratio:var(--ratio); max-height:55vh; } .plot .main-svg { width:100% !important; height:100% !important; } }
`.trim();
