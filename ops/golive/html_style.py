"""The style of the report: a phone, a desktop, paper, light and dark."""

STYLE = """
:root { color-scheme: light dark; --line: #0003; --soft: #8881; --text: #1a1a1a; --page: #fff;
  --pass: #166534; --fail: #b91c1c; --inconclusive: #92400e; --waived: #1e40af; --not_applicable: #52525b }
@media (prefers-color-scheme: dark) { :root { --line: #fff4; --text: #eee; --page: #16181d;
  --pass: #86efac; --fail: #fca5a5; --inconclusive: #fcd34d; --waived: #93c5fd; --not_applicable: #d4d4d8 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.45 system-ui, sans-serif }
main { margin: 0 auto; max-width: 64rem; padding: 1rem }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.2rem; margin: 1.5rem 0 .5rem }
h3 { font-size: 1rem; margin: 0 }
p { margin: .25rem 0; overflow-wrap: anywhere }
code { font-size: .9em; overflow-wrap: anywhere }
[lang=en] { font-weight: 400 }
h1 [lang=en], h2 [lang=en], h3 [lang=en] { display: block; font-size: .9em }
.state { font-size: 1.3rem }
.small { font-size: .875rem }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .5rem }
dl div { background: var(--soft); border-radius: .4rem; padding: .45rem .6rem; border-left: .3rem solid }
dt { font-size: .875rem } dt [lang=en] { display: block }
dd { margin: 0; font-size: 1.3rem; font-weight: 600 }
article { border: 1px solid var(--line); border-left: .3rem solid; border-radius: .4rem;
  padding: .6rem .75rem; margin: .5rem 0; break-inside: avoid }
article > p { color: var(--text) }
.pass { color: var(--pass) } .fail { color: var(--fail) } .inconclusive { color: var(--inconclusive) }
.waived { color: var(--waived) } .not_applicable { color: var(--not_applicable) }
.figures { display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) }
figcaption { font-size: .875rem }
figure { margin: 0; break-inside: avoid }
figure svg { display: block; width: 100%; height: auto; border: 1px solid var(--line) }
.records { padding-left: 1.5rem } .records li { margin: .35rem 0; overflow-wrap: anywhere }
@media print { :root { color-scheme: light; --line: #0003; --text: #000; --page: #fff; --pass: #166534;
  --fail: #b91c1c; --inconclusive: #92400e; --waived: #1e40af; --not_applicable: #52525b }
  body { font-size: 10pt } main { max-width: none; padding: 0 } h2 { break-after: avoid; break-inside: avoid }
  .figures { grid-template-columns: 1fr 1fr } }
"""
