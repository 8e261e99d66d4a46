"""How the page looks, in light and dark, from a phone to a wide screen."""

STYLE = """
:root { color-scheme: light dark; --paper: #fcfcfb; --card: #ffffff; --ink: #1d1f21; --soft: #5c6166; --rule: #dcdedf;
  --blue: #2a66b8; --wash: #2a66b822; --bad: #b3261e; --good: #2b7a3d; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181a; --card: #1e2124; --ink: #e6e7e8; --soft: #a2a8ad; --rule: #34383c;
    --blue: #7fb0f0; --wash: #7fb0f02a; --bad: #ff8f85; --good: #7fd090; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 84rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .6rem; } h3 { font-size: 1rem; margin: 0; }
header p, figcaption { color: var(--soft); margin: .2rem 0 0; } figure { margin: 0; } figcaption { font-size: .8rem; }
.good, .bad { font-size: .9rem; font-weight: 600; white-space: nowrap; } .good { color: var(--good); }
.bad, .note, .attention li::marker { color: var(--bad); } .note { margin: .4rem 0 0; font-size: .9rem; }
ul { margin: 0; padding-left: 1.2rem; } .attention li { margin: .25rem 0; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
article { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: .8rem; min-width: 0; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .1rem .8rem; margin: .6rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
svg { display: block; width: 100%; height: 4rem; } .area { fill: var(--wash); }
.line { fill: none; stroke: var(--blue); stroke-width: 2; vector-effect: non-scaling-stroke; }
.limit { stroke: var(--soft); stroke-dasharray: 3 4; vector-effect: non-scaling-stroke; }
.bar { height: .4rem; margin: .5rem 0; border-radius: 3px; background: var(--wash); overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--blue); } .alarming span { background: var(--bad); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .2rem .8rem .2rem 0; }
th { color: var(--soft); font-weight: 400; } .number { white-space: nowrap; text-align: right; }
td.wide { width: 40%; padding-right: 0; } .scroll { overflow-x: auto; }
details { border-top: 1px solid var(--rule); padding: .4rem 0; } details p { margin: .3rem 0; }
summary { cursor: pointer; }
"""
